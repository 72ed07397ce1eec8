"""Allergen levels of a generic food, derived by rules from its names and its kind.

The 14 allergens are those of Annex II of Regulation (EU) 1169/2011. The rules leave out
a code that they cannot decide, which means "unknown". In doubt they decide nothing: "absent"
is given only to foods so simple that nothing else is plausible, and never to a composite
dish.
"""

import re

CODES = (
    "gluten", "crustaceans", "egg", "fish", "peanut", "soy", "milk",
    "nuts", "celery", "mustard", "sesame", "sulphites", "lupin", "molluscs",
)
ALL = frozenset(CODES)
SEA = frozenset({"crustaceans", "fish", "molluscs"})

# (code, pattern that means "contains", pattern that overrides it). Both are matched against the USDA description and
# this project's English name, in lower case.
CONTAINS = (
    (
        "gluten",
        r"\b(wheat|bread\w*|baguette|loaf\b(?<!meat loaf)|rolls?|bun|bagel|pita|naan|focaccia"
        r"|croissant|brioche|pasta|noodles?|macaroni|spaghetti with|lasagn\w+|ravioli|tortellini"
        r"|gnocchi|couscous|bulgur|semolina|spelt|farro|barley|rye|malt\w*|pizza|sandwich"
        r"|hamburger, nfs|cheeseburger|burger, on bun|cake|cheesecake|cupcake|cookies?|biscuits?"
        r"|crackers?|muffin|doughnut|waffle|pancakes?|cr[eê]pe|french toast|apple pie|pastry"
        r"|phyllo|flour tortilla|tortilla, flour|burrito|empanada|croquettes?|dumplings?|wonton"
        r"|breaded|battered|fried onion rings|fish, stick|chicken nuggets|tenders or strips"
        r"|pretzels?|melba|croutons|bruschetta|churros|pan dulce|pannetone|baklava|tiramisu"
        r"|ladyfinger|brownie|beer|michelada|teriyaki|soy sauce|quiche|tabbouleh|ramen|lo mein"
        r"|fideo|white sauce|bran flakes|multigrain|caesar salad|gluten|bread crumbs"
        # Annex II counts oats among the cereals containing gluten.
        r"|oats?|oatmeal|granola|avena)\b",
        r"buckwheat|gluten.free|rice noodles|rice cake|corn cake|fish cake|fish, cake"
        r"|crackers, rice|cassava bread|sushi roll|burrito bowl|tamari|corn pasta|pasta sauce"
        r"|for pasta|vermicelli|brussels sprouts|no bun|meringue",
    ),
    (
        "crustaceans",
        r"\b(shrimp|prawns?|crab|lobster|crayfish|paella with seafood)\b",
        r"imitation crab",
    ),
    (
        "egg",
        r"\b(eggs?|omelette?|mayonnaise|meringue|custard|flan|creme brulee|hollandaise|tartar"
        r"|quiche|huevos|brioche|tiramisu|ladyfinger|cake|cheesecake|cupcake|pancakes?|waffle"
        r"|cr[eê]pe, plain|french toast|mousse|caesar dressing|thousand island|pannetone|coleslaw"
        r"|muffin|brownie|cobb salad)\b",
        r"\begg roll|vegan|english muffin|muffin, english|rice cake|corn cake|fish cake"
        r"|fish, cake",
    ),
    (
        "fish",
        r"\b(fish|salmon|tuna|cod|anchov(y|ies)|sardines?|mackerel|herring|bacalaitos"
        r"|imitation crab|caviar|worcestershire|caesar dressing|ceviche|halibut|bass)\b",
        r"^crustaceans|^mollusks",
    ),
    ("peanut", r"peanuts?\b|trail mix|pad thai", r"without peanuts"),
    (
        "soy",
        r"\b(soy|soybeans?|tofu|tempeh|natto|miso|edamame|tamari|teriyaki|hoisin"
        r"|textured vegetable|lo mein|bibimbap|chicken, meatless|meatball, meatless"
        r"|hot dog, vegetarian|veggie burger|hazelnut spread|soy-based)\b",
        # Fully refined soybean oil is exempt from declaration; the table does not say how an oil is refined.
        r"soybean oil",
    ),
    (
        "milk",
        r"\b(milk|cheese\w*|queso|quesadilla|yogurt|butter|buttermilk|cream|ghee|whey|kefir"
        r"|dulce de leche|custard|flan|creme brulee|pudding|latte|cappuccino|cafe con leche"
        r"|macchiato|mocha|hot chocolate|white sauce|alfredo|hollandaise|lasagn\w+|paneer"
        r"|tzatziki|pesto|tiramisu|gelato|chocolate hazelnut spread|candy, caramel|toffee"
        r"|caesar dressing|ranch dressing|croissant|brioche|licuado|fruit and dairy|stroganoff"
        r"|parmesan|parmigiana|shepherd's pie|soup, pumpkin|soup, potato|quiche|pancakes?"
        r"|waffle|cr[eê]pe, plain|french toast|mousse|greek salad|cobb salad|caesar salad"
        r"|croquettes?, ham|ham croquettes?|cocoa mix)\b|extra cheese",
        r"(coconut|almond|soy|oat|rice|non-dairy) (milk|drink|yogurt)|yogurt, soy|coconut cream"
        r"|(peanut|almond|cashew|soy nut|nut|seeds?, sesame) butter|sesame butter|no cheese"
        r"|without cheese|no butter|cream of (rice|wheat)|non-dairy|no dairy|dairy-free|horchata.*water"
        r"|rice croquette",
    ),
    (
        "nuts",
        r"almond|walnut|hazelnut|cashew|pecan|brazil ?nuts|pistachio|macadamia|mixed nuts"
        r"|trail mix|fruit and nut|baklava",
        None,
    ),
    ("celery", r"\b(celery|celeriac)\b", None),
    ("mustard", r"\bmustard\b", None),
    ("sesame", r"\b(sesame|tahini|hummus|halavah|halva|eggplant dip|bibimbap)\b", None),
    (
        "sulphites",
        r"\b(sulfured|wine|sangria|hard cider|vinegar, balsamic|apple, dried|apricot, dried)\b",
        None,
    ),
    ("lupin", r"\blupins?\b", None),
    (
        "molluscs",
        r"\b(mollusks?|mussels?|clams?|oysters?|scallops?|squid|calamari|cuttlefish|octopus"
        r"|escargot|snails?|paella with seafood)\b",
        r"mushroom",
    ),
)

TRACES = (
    ("milk", r"chocolate, dark|chocolate-coated|chocolate covered", None),
)


def _matches(text, include, exclude):
    return bool(re.search(include, text)) and not (exclude and re.search(exclude, text))


def _fruit(text):
    if "fried" in text:
        return frozenset()  # Shared frying oil may carry any allergen.
    if re.search(r"\braw\b|dragon fruit|coconut, fresh", text):
        # Table grapes and lychees are commonly kept with sulphur dioxide.
        return ALL - {"sulphites"} if re.search(r"grapes|litchi", text) else ALL
    if re.search(r"frozen|lemon juice|lime juice", text):
        return ALL - {"sulphites"}
    return SEA | {"egg"}


def _vegetable(text):
    if re.search(r"fried|fries|kimchi|stuffed|milk|purée|roast", text):
        return frozenset()
    if re.search(r"bean sprouts|sprouted", text):
        # Sprouts are sold under loose names: mung beans as soya, alfalfa mixed with mustard.
        return ALL - {"soy", "mustard", "sulphites"}
    if "seaweed" in text:
        return frozenset({"egg", "milk", "peanut", "nuts", "lupin"})
    if re.search(r"potato|mushroom", text) and "raw" in text:
        return ALL - {"sulphites"}  # Cut ones are often sold in a sulphite solution.
    if re.search(r"canned|frozen|pickle|olive|sauerkraut|capers|dried|paste", text):
        return frozenset({"crustaceans", "molluscs", "egg", "milk", "peanut", "nuts", "lupin"})
    if re.search(r"\braw\b|\blettuce\b|greens, raw", text):
        return ALL
    plain = r"no added fat|boiled|without salt|ripe, cooked"
    if re.search(plain, text) and not re.search(r"with added fat", text):
        return ALL - {"sulphites"}
    return SEA | {"egg", "nuts", "lupin"}  # "Cooked" with an unnamed fat.


def _meat(text):
    prepared = (
        r"cured|breaded|nuggets|strips|deli|luncheon|sausage|bacon|ham\b|salami|mortadella"
        r"|pepperoni|chorizo|bratwurst|hot dog|frankfurter|paste|wurst|bologna|pastrami|jerky"
        r"|corned|canned|additives|rotisserie|rinds|cracklings|carnitas|patty|chicken fillet"
    )
    if re.search(prepared, text):
        return frozenset()
    if re.search(r"\braw\b", text):
        return ALL - {"sulphites"} if "ground" in text else ALL
    return SEA | {"egg", "nuts", "lupin"}


def _fish(text):
    if re.search(r"fried|stick|imitation|caviar|smoked|canned|pickled|anchovies", text):
        return frozenset()
    if re.search(r"\braw\b|dried and salted", text):
        # At a fishmonger's, fish shares surfaces with other seafood, and crustaceans are dipped in sulphite.
        return ALL - SEA - {"sulphites"}
    return frozenset({"egg", "nuts", "lupin"})


def _egg(text):
    beaten = re.search(r"scrambled|omelet", text)  # Milk may be beaten in.
    if not beaten and re.search(r"\braw\b|boiled|poached|no added fat|white, dried", text):
        return ALL - {"egg"}
    return frozenset({"crustaceans", "molluscs", "nuts", "lupin"})


def _dairy(text):
    if re.search(r"chocolate|strawberry|fruit|vanilla|spread", text):
        return frozenset({"crustaceans", "molluscs"})
    if re.search(r"^milk, (whole|reduced|low|fat|lactose|sheep)|^goat milk", text):
        return ALL - {"milk"}
    return frozenset({"crustaceans", "molluscs", "peanut", "lupin", "celery"})


def _legume(text):
    composite = r"refried|baked|hummus|burger|meatless|vegetarian|yogurt|fried|textured|miso|natto"
    if re.search(composite, text):
        return frozenset()
    if "with fat" in text:
        return SEA | {"egg", "nuts"}  # The fat may be butter.
    if re.search(r"peanut|soy nuts", text):
        return SEA | {"egg", "milk"}  # Roasted and milled on the same lines as tree nuts.
    return SEA | {"egg", "milk", "nuts"}


def _grain(text):
    if re.search(r"^cereal|granola|flakes|puffed", text):
        return SEA
    if re.search(r"^rice, |^wild rice", text):
        return SEA | {"egg", "nuts", "lupin"} if re.search(r"\boil\b", text) else ALL
    if re.search(r"pasta|noodles|vermicelli|cooked|nfs", text):
        return SEA | {"peanut", "nuts"}  # Egg pasta shares the line; porridge may contain milk.
    return SEA | {"egg", "milk", "peanut", "nuts"}


def _nut_seed(text):
    if "coconut water" in text:
        return ALL - {"sulphites"}
    return SEA | {"egg"} if "mix" not in text else SEA


def _oil_fat(text):
    if re.search(r"butter|ghee", text):
        return frozenset({"crustaceans", "molluscs", "peanut", "lupin", "celery"})
    if "margarine" in text:
        return frozenset({"crustaceans", "molluscs"})
    if "cod liver" in text:
        return frozenset({"gluten", "egg", "milk", "peanut", "nuts"})
    if "lard" in text:
        return SEA | {"egg", "peanut", "nuts", "lupin"}
    if re.search(r"soybean|peanut|sesame|walnut|wheat germ|vegetable oil", text):
        return SEA | {"egg", "milk", "celery", "lupin"}
    return ALL


def _sweet(text):
    if re.search(r"^sugars, granulated|^honey|^syrups, maple|^agave", text):
        return ALL
    if re.search(r"sugar, brown|molasses|fructose|^jam|marmalade|guava paste", text):
        return SEA | {"egg", "peanut"}
    return frozenset({"crustaceans", "molluscs"})


def _drink(text):
    if text.startswith("water,") and "tonic" not in text:
        return ALL
    if re.search(r"^coffee, (brewed|espresso|instant)|^tea, hot, (leaf|chamomile|hibiscus)", text):
        return ALL
    if re.search(r"juice, 100%.*freshly squeezed", text):
        return ALL - {"sulphites", "celery"}
    if re.search(r"milk|latte|cappuccino|mocha|macchiato|con leche", text):
        return SEA
    # Many drinks are clarified with isinglass or gelatine, so fish stays unknown.
    return frozenset({"crustaceans", "molluscs", "peanut"})


def _sauce_spice(text):
    if re.search(r"^salt\b|, fresh$|fresh \||leaves, raw|^chives", text):
        return ALL
    if text.startswith("spices,"):
        return SEA | {"egg", "milk"}
    if text.startswith("vinegar"):
        return frozenset({"crustaceans", "molluscs", "egg", "milk", "peanut", "nuts"})
    return frozenset()


# Dishes, snacks and supplements are composite, or processed on shared lines: no allergen is "absent".
ABSENT_BY_KIND = {
    "bread": lambda text: SEA, "dairy": _dairy, "drink": _drink, "egg": _egg, "fish": _fish,
    "fruit": _fruit, "grain": _grain, "legume": _legume, "meat": _meat, "nut_seed": _nut_seed,
    "oil_fat": _oil_fat, "sauce_spice": _sauce_spice, "sweet": _sweet, "vegetable": _vegetable,
}


def allergen_levels(usda_name, name_en, kind):
    """Map each decided code to contains, traces or absent; the strictest level wins."""
    text = f"{usda_name} | {name_en}".lower()
    absent = ABSENT_BY_KIND.get(kind, lambda text: frozenset())(text)
    levels = {code: "absent" for code in absent}
    for level, rules in (("traces", TRACES), ("contains", CONTAINS)):
        for code, include, exclude in rules:
            if _matches(text, include, exclude):
                levels[code] = level
    if kind == "dairy":
        levels["milk"] = "contains"
    if kind == "egg":
        levels["egg"] = "contains"
    return levels


def format_levels(levels):
    return ";".join(f"{code}={levels[code]}" for code in CODES if code in levels)
