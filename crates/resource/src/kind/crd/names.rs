//! Which names of a definition are accepted: no two definitions of a group share one.

use super::{is_true, set_condition};
use crate::check::ca_bundle;
use crate::field::quote;
use crate::json::{items, object, set, text};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Names that the other definitions of a group have.
#[derive(Debug, Default)]
struct Taken {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Taken {
    fn by(crds: &[Value], crd: &Value) -> Self {
        let mut taken = Self::default();
        let name = text(&crd["metadata"], "name");
        for other in crds {
            let same_group = other["spec"]["group"] == crd["spec"]["group"];
            if !same_group || text(&other["metadata"], "name") == name {
                continue;
            }
            let names = &other["status"]["acceptedNames"];
            let resources = [text(names, "plural"), text(names, "singular")].into_iter();
            let short = items(&names["shortNames"]).iter().filter_map(Value::as_str);
            taken.resources.extend(resources.chain(short).map(str::to_owned));
            taken
                .kinds
                .extend([text(names, "kind"), text(names, "listKind")].map(str::to_owned));
        }
        taken
    }
}

/// Brings the accepted names and the conditions about them up to date; says whether anything changed.
pub fn accept(crd: &mut Value, crds: &[Value], now: &str) -> bool {
    let taken = Taken::by(crds, crd);
    let wanted = crd["spec"]["names"].clone();
    let mut accepted = crd["status"]["acceptedNames"].as_object().cloned().unwrap_or_default();
    let mut conflict: Option<(&str, String)> = None;
    for (key, reason, pool) in [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("shortNames", "ShortNamesConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ] {
        let names: Vec<&str> = match &wanted[key] {
            Value::String(name) => vec![name],
            list => items(list).iter().filter_map(Value::as_str).collect(),
        };
        let used: Vec<String> = names
            .iter()
            .filter(|name| !name.is_empty() && pool.contains(**name))
            .map(|name| format!("{} is already in use", quote(name)))
            .collect();
        if used.is_empty() {
            keep(&mut accepted, &wanted, key);
        } else {
            let message = match used.as_slice() {
                [one] => one.clone(),
                many => format!("[{}]", many.join(", ")),
            };
            conflict = Some((reason, message));
        }
    }
    keep(&mut accepted, &wanted, "categories");
    for key in ["plural", "kind"] {
        accepted.entry(key).or_insert_with(|| "".into());
    }
    let mut changed = crd["status"]["acceptedNames"] != Value::Object(accepted.clone());
    if changed && let Some(status) = object(crd, "status") {
        set(status, "acceptedNames", accepted);
    }
    changed |= match &conflict {
        Some((reason, message)) => set_condition(crd, "NamesAccepted", "False", reason, message, now),
        None => set_condition(crd, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now),
    };
    if is_true(crd, "Established") {
        return changed;
    }
    let bundle = &crd["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"];
    if conflict.is_none() && ca_bundle::problem(bundle).is_some() {
        let message = "The conversion webhook CABundle is invalid";
        return changed | set_condition(crd, "Established", "False", "InvalidCABundle", message, now);
    }
    changed
        | match conflict {
            Some(_) => set_condition(
                crd,
                "Established",
                "False",
                "NotAccepted",
                "not all names are accepted",
                now,
            ),
            None => set_condition(
                crd,
                "Established",
                "True",
                "InitialNamesAccepted",
                "the initial names have been accepted",
                now,
            ),
        }
}

fn keep(accepted: &mut Map<String, Value>, wanted: &Value, key: &str) {
    match wanted.get(key) {
        Some(value) => {
            accepted.insert(key.to_owned(), value.clone());
        }
        None => {
            accepted.shift_remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn crd(name: &str, names: Value) -> Value {
        json!({"metadata": {"name": name}, "spec": {"group": "g.io", "names": names}, "status": {}})
    }

    #[test]
    fn the_first_to_have_a_name_keeps_it() {
        let mut first = crd(
            "foos.g.io",
            json!({"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList", "shortNames": ["f"]}),
        );
        assert!(accept(&mut first, &[], "t"));
        assert!(!accept(&mut first, &[], "u"), "nothing is left to do");
        assert!(is_true(&first, "NamesAccepted") && is_true(&first, "Established"));
        let mut second = crd(
            "bars.g.io",
            json!({"plural": "bars", "singular": "bar", "kind": "Foo", "listKind": "BarList", "shortNames": ["f"], "categories": ["all"]}),
        );
        let all = [first.clone(), second.clone()];
        assert!(accept(&mut second, &all, "t"));
        let conditions = &second["status"]["conditions"];
        assert_eq!(conditions[0]["reason"], "KindConflict");
        assert_eq!(conditions[0]["message"], "\"Foo\" is already in use");
        assert_eq!(conditions[1]["reason"], "NotAccepted");
        let accepted = &second["status"]["acceptedNames"];
        assert_eq!(
            accepted,
            &json!({"plural": "bars", "singular": "bar", "listKind": "BarList", "categories": ["all"], "kind": ""})
        );
        // With the other gone, they are free.
        assert!(accept(&mut second, &[], "v"));
        assert!(is_true(&second, "Established"));
    }
}
