"""Tests of the plausibility check, the allergen rules and the committed table."""

import csv
import unittest
from decimal import Decimal

import make_table
from allergens import CODES, allergen_levels

LEVELS = {"contains", "traces", "absent", "unknown"}


def values(**given):
    known = {name: None for name in make_table.NUTRIENTS}
    known.update({name: Decimal(str(value)) for name, value in given.items()})
    return known


def committed():
    with open(make_table.STARTER_CSV, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def levels_of(cells):
    return dict(pair.split("=") for pair in cells["allergens"].split(";") if pair)


class Plausibility(unittest.TestCase):
    def reasons(self, **given):
        return make_table.implausibilities(values(**given))

    def test_a_plausible_food_passes(self):
        self.assertEqual([], self.reasons(energy=165, protein=31, carbohydrate=0, fat=3.6))

    def test_a_food_with_unknown_macros_is_refused(self):
        self.assertEqual(["fat is unknown"], self.reasons(energy=40, protein=1, carbohydrate=9))

    def test_each_rule_refuses_a_violation(self):
        refused = {
            "fat is over 100 g": dict(energy=909, protein=0, carbohydrate=0, fat=101),
            "saturated fat is over fat":
                dict(energy=90, protein=0, carbohydrate=0, fat=10, saturated_fat=11),
            "sugars are over carbohydrate":
                dict(energy=40, protein=0, carbohydrate=10, fat=0, sugars=11),
            "protein, carbohydrate and fat are over 105 g":
                dict(energy=424, protein=53, carbohydrate=53, fat=0),
            "protein is negative": dict(energy=4, protein=-1, carbohydrate=2, fat=0),
        }
        for reason, given in refused.items():
            with self.subTest(reason):
                self.assertIn(reason, self.reasons(**given))

    def test_energy_band_is_thirty_per_cent_and_five_kcal(self):
        food = dict(protein=10, carbohydrate=0, fat=0)
        self.assertEqual([], self.reasons(energy=57, **food))
        self.assertIn("far from Atwater 40 kcal", self.reasons(energy=58, **food)[0])
        self.assertIn("far from Atwater 40 kcal", self.reasons(energy=26, **food)[0])

    def test_by_difference_carbohydrate_includes_fibre(self):
        # 50 g of carbohydrate, 40 of them fibre: 4·10 + 2·40 = 120 kcal.
        food = dict(protein=0, carbohydrate=50, fibre=40, fat=0)
        self.assertEqual([], self.reasons(energy=120, **food))
        self.assertNotEqual([], self.reasons(energy=200, **food))

    def test_alcohol_counts_seven_kcal_per_gram(self):
        wine = dict(energy=85, protein=0.07, carbohydrate=2.61, fat=0)
        self.assertNotEqual([], self.reasons(**wine))
        self.assertEqual([], self.reasons(alcohol=10.6, **wine))


class Derived(unittest.TestCase):
    def test_alcohol_is_derived_from_the_energy_of_a_drink(self):
        wine = values(energy=85, protein=0.07, carbohydrate=2.61, fat=0)
        self.assertEqual(Decimal("10.7"), make_table.alcohol_of("Wine, red", "drink", wine))

    def test_alcohol_is_zero_for_foods_without_any_and_otherwise_unknown(self):
        self.assertEqual(0, make_table.alcohol_of("Apple, raw", "fruit", values()))
        self.assertIsNone(make_table.alcohol_of("Stew, beef", "dish", values()))
        self.assertIsNone(make_table.alcohol_of("Beer, nonalcoholic", "drink", values()))

    def test_only_measurement_error_is_corrected(self):
        milk = values(carbohydrate=4.63, sugars=4.81)
        make_table.mend(milk)
        self.assertEqual(milk["carbohydrate"], milk["sugars"])
        wrong = values(carbohydrate=4, sugars=6)
        make_table.mend(wrong)
        self.assertEqual(Decimal(6), wrong["sugars"])

    def test_unknown_is_empty_and_never_zero(self):
        self.assertEqual("", make_table.scaled(None, 1000))
        self.assertEqual("0", make_table.scaled(Decimal(0), 1000))


class Allergens(unittest.TestCase):
    GOLDEN = (
        ("Nuts, almonds", "Almonds", "nut_seed", "nuts", "contains"),
        ("Bread, wheat or cracked wheat", "Wheat bread, sliced", "bread", "gluten", "contains"),
        ("Bread, wheat or cracked wheat", "Wheat bread, sliced", "bread", "milk", None),
        ("Fish, salmon, smoked", "Salmon, smoked", "fish", "fish", "contains"),
        ("Milk, whole", "Whole milk", "dairy", "milk", "contains"),
        ("Soy sauce", "Soy sauce", "sauce_spice", "soy", "contains"),
        ("Soy sauce", "Soy sauce", "sauce_spice", "gluten", "contains"),
        ("Apple, raw", "Apple, raw", "fruit", "milk", "absent"),
        ("Oats, raw", "Rolled oats", "grain", "gluten", "contains"),
        ("Rice, white, cooked, no added fat", "White rice, boiled", "grain", "gluten", "absent"),
        ("Buckwheat groats", "Buckwheat groats, cooked", "grain", "gluten", None),
        ("Eggplant, raw", "Aubergine (eggplant), raw", "vegetable", "egg", "absent"),
        ("Peanut butter", "Peanut butter", "nut_seed", "peanut", "contains"),
        ("Peanut butter", "Peanut butter", "nut_seed", "milk", None),
        ("Mushrooms, oyster, raw", "Oyster mushroom, raw", "vegetable", "molluscs", "absent"),
        ("Oyster sauce", "Oyster sauce", "sauce_spice", "molluscs", "contains"),
        ("Coconut milk, used in cooking", "Coconut milk, canned", "drink", "milk", None),
        ("Celery, raw", "Celery, raw", "vegetable", "celery", "contains"),
        ("Wine, red", "Red wine", "drink", "sulphites", "contains"),
        ("Lupins, mature seeds, raw", "Lupin beans, dry", "legume", "lupin", "contains"),
        ("Tahini", "Tahini", "nut_seed", "sesame", "contains"),
        ("Shrimp, grilled", "Prawns, grilled", "fish", "crustaceans", "contains"),
        ("Popcorn, air-popped, no butter added", "Popcorn, air-popped", "snack", "milk", None),
        ("Egg, whole, cooked, scrambled", "Scrambled eggs", "egg", "milk", None),
    )

    def test_golden_rows(self):
        for usda_name, name_en, kind, code, level in self.GOLDEN:
            with self.subTest(f"{name_en}: {code}"):
                self.assertEqual(level, allergen_levels(usda_name, name_en, kind).get(code))

    def test_composite_foods_never_have_absent_allergens(self):
        for cells in committed():
            if cells["kind"] in ("dish", "snack", "supplement"):
                with self.subTest(cells["name_en"]):
                    self.assertNotIn("absent", levels_of(cells).values())

    def test_every_fish_names_its_allergen(self):
        for cells in committed():
            if cells["kind"] == "fish":
                levels = levels_of(cells)
                own = {levels.get(code) for code in ("fish", "crustaceans", "molluscs")}
                self.assertIn("contains", own, cells["name_en"])


class CommittedTable(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rows = committed()

    def test_size_columns_and_order(self):
        self.assertGreaterEqual(len(self.rows), 650)
        self.assertEqual(list(make_table.COLUMNS), list(self.rows[0]))
        keys = [(cells["source_ref"], cells["source"]) for cells in self.rows]
        self.assertEqual(sorted(set(keys)), keys)

    def test_each_line_holds_one_food(self):
        lines = make_table.STARTER_CSV.read_text(encoding="utf-8").splitlines()
        self.assertEqual(len(self.rows) + 1, len(lines))

    def test_names_are_unique_in_each_language(self):
        for column in ("name_en", "name_es"):
            names = [cells[column].casefold() for cells in self.rows]
            self.assertEqual(len(names), len(set(names)), column)
            self.assertNotIn("", names)

    def test_every_row_is_plausible(self):
        macros = ("protein", "carbohydrate", "sugars", "fibre", "fat", "saturated_fat", "alcohol")
        for cells in self.rows:
            given = {name: Decimal(cells[f"{name}_mg"]) / 1000
                     for name in macros if cells[f"{name}_mg"]}
            given["energy"] = Decimal(cells["energy_mkcal"]) / 1000
            with self.subTest(cells["name_en"]):
                self.assertEqual([], make_table.implausibilities(values(**given)))

    def test_cells_are_well_formed(self):
        for cells in self.rows:
            with self.subTest(cells["name_en"]):
                self.assertIn(cells["source"], make_table.SOURCES.values())
                self.assertIn(cells["kind"], make_table.KINDS)
                self.assertEqual("by_difference", cells["carb_basis"])
                for column, cell in cells.items():
                    if column.endswith(("_mg", "_ng", "_mkcal")):
                        self.assertRegex(cell, r"^\d*$")
                for code, level in levels_of(cells).items():
                    self.assertIn(code, CODES)
                    self.assertIn(level, LEVELS)
                self.assertTrue(cells["portions"])
                for portion in cells["portions"].split(";"):
                    self.assertRegex(portion, r"^[^|]+\|[^|]+\|\d+(\.\d)?$")
                    self.assertGreater(Decimal(portion.rsplit("|", 1)[1]), 0)


if __name__ == "__main__":
    unittest.main()
