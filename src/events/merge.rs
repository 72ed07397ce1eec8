//! RFC 7396 JSON merge patches: [`apply`] one to a snapshot, [`diff`] two snapshots, [`join`] two patches into one.

use serde_json::{Map, Value};

/// Applies `patch` to `target` (RFC 7396 §2).
pub fn apply(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            apply(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// The patch that turns `before` into `after`. Neither may contain nulls, which a merge patch cannot express.
#[must_use]
pub fn diff(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return after.clone();
    };
    let mut patch = Map::new();
    for key in before.keys().filter(|k| !after.contains_key(*k)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in after {
        match before.get(key) {
            Some(old) if old == value => {}
            Some(old @ Value::Object(_)) if value.is_object() => {
                patch.insert(key.clone(), diff(old, value));
            }
            // The old value is not an object, so the patch replaces it; `value` has no nulls and is its own patch.
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(patch)
}

/// Joins `second` into `first`: applying the result has the effect of applying both in turn. Nulls are kept, because
/// they delete. The result is exact unless `first` deletes an object that `second` creates again with fewer fields than
/// it had; therefore an entry of a collection in a patch names all its fields.
pub fn join(first: &mut Value, second: Value) {
    match (first, second) {
        (Value::Object(first), Value::Object(second)) => {
            for (key, value) in second {
                match first.get_mut(&key) {
                    Some(there) => join(there, value),
                    None => {
                        first.insert(key, value);
                    }
                }
            }
        }
        (first, second) => *first = second,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn applies_the_examples_of_rfc_7396() {
        let cases = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ];
        for (mut target, patch, result) in cases {
            apply(&mut target, patch.clone());
            assert_eq!(target, result, "{patch}");
        }
    }

    #[test]
    fn applying_a_diff_to_the_old_value_gives_the_new_one() {
        let cases = [
            (json!({}), json!({"a":{"b":1}})),
            (json!({"a":{"b":1,"c":2}}), json!({"a":{"c":3}})),
            (json!({"a":[1,2]}), json!({"a":[2]})),
            (json!({"a":1}), json!({"a":{"b":{}}})),
            (json!({"a":{"b":1}}), json!({"a":1,"z":{}})),
        ];
        for (before, after) in cases {
            let mut made = before.clone();
            apply(&mut made, diff(&before, &after));
            assert_eq!(made, after, "{before}");
            assert_eq!(diff(&after, &after), json!({}));
        }
    }

    #[test]
    fn a_joined_patch_has_the_effect_of_both_in_turn() {
        let start = json!({"a":{"x":1,"y":2},"b":3});
        let (one, two) = (
            json!({"a":{"x":null},"c":{"z":1}}),
            json!({"a":{"y":5},"b":null,"c":{"z":null,"w":2}}),
        );
        let mut stepwise = start.clone();
        apply(&mut stepwise, one.clone());
        apply(&mut stepwise, two.clone());
        let (mut joined, mut at_once) = (one, start);
        join(&mut joined, two);
        apply(&mut at_once, joined);
        assert_eq!(at_once, stepwise);
    }
}
