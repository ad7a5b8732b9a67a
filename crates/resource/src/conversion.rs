//! `ConversionReview`: what a webhook is asked that brings custom resources from one version to another, and what it may
//! answer.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/apiserver/conversion`, whose words the errors are.

use serde_json::{Value, json};

use crate::check::label::{validate_annotations, validate_labels};
use crate::field::{Errors, Path};
use crate::json::text;
use crate::meta;

/// One question to a webhook.
#[derive(Debug)]
pub struct Review<'a> {
    /// By which the answer says what it is an answer to.
    pub uid: String,
    /// Which `ConversionReview` both sides know.
    version: &'static str,
    /// The `apiVersion` that the objects shall have.
    wanted: &'a str,
}

impl<'a> Review<'a> {
    /// A question in the first version that the webhook accepts (`conversionReviewVersions`) and this server knows.
    ///
    /// # Errors
    /// If there is none.
    pub fn new(accepted: &Value, wanted: &'a str) -> Result<Self, String> {
        let accepted = accepted.as_array().into_iter().flatten();
        let version = accepted
            .filter_map(Value::as_str)
            .find_map(|version| ["v1", "v1beta1"].into_iter().find(|known| *known == version))
            .ok_or("no supported conversion review versions")?;
        Ok(Self {
            uid: meta::new_uid(),
            version,
            wanted,
        })
    }

    /// The question itself; the objects come with kind and version.
    pub fn request(&self, objects: &[&mut Value]) -> Value {
        json!({
            "kind": "ConversionReview",
            "apiVersion": format!("apiextensions.k8s.io/{}", self.version),
            "request": {"uid": self.uid, "desiredAPIVersion": self.wanted, "objects": objects},
        })
    }

    /// The objects of an answer.
    ///
    /// # Errors
    /// If it is none to this question, or the webhook says that it failed.
    pub fn converted(&self, mut answer: Value) -> Result<Vec<Value>, String> {
        let strict = self.version == "v1";
        let (got, expected) = (
            group_version_kind(&answer),
            "apiextensions.k8s.io/v1, Kind=ConversionReview",
        );
        if strict && got != expected {
            return Err(format!("expected webhook response of {expected}, got {got}"));
        }
        let response = &mut answer["response"];
        if response.is_null() {
            return Err("no response provided".to_owned());
        }
        let uid = text(response, "uid");
        if strict && uid != self.uid {
            return Err(format!("expected response.uid={:?}, got {uid:?}", self.uid));
        }
        let result = &response["result"];
        match (text(result, "status"), text(result, "message")) {
            ("Success", _) => Ok(match response["convertedObjects"].take() {
                Value::Array(objects) => objects,
                _ => Vec::new(),
            }),
            (status, "") => Err(format!("response.result.status was '{status}', not 'Success'")),
            (_, message) => Err(message.to_owned()),
        }
    }

    /// Puts the converted objects in the place of those that were asked about.
    ///
    /// # Errors
    /// If one is another object than it was, or has changed in what is not the webhook's to change.
    pub fn accept(&self, objects: &mut [&mut Value], converted: Vec<Value>) -> Result<(), String> {
        if converted.len() != objects.len() {
            let (got, expected) = (converted.len(), objects.len());
            return Err(format!("returned {got} objects, expected {expected}"));
        }
        let many = objects.len() > 1;
        for (index, (object, mut converted)) in objects.iter_mut().zip(converted).enumerate() {
            check(object, &converted, self.wanted).map_err(|why| match many {
                true => format!("returned invalid converted object at index {index}: {why}"),
                false => format!("returned invalid object: {why}"),
            })?;
            restore_metadata(object, &mut converted).map_err(|why| match many {
                true => format!("returned invalid metadata in object at index {index}: {why}"),
                false => format!("returned invalid metadata: {why}"),
            })?;
            **object = converted;
        }
        Ok(())
    }
}

/// `example.com/v1, Kind=Foo`.
pub fn group_version_kind(object: &Value) -> String {
    format!("{}, Kind={}", text(object, "apiVersion"), text(object, "kind"))
}

fn check(object: &Value, converted: &Value, wanted: &str) -> Result<(), String> {
    let pairs = [
        ("invalid groupVersion", wanted, text(converted, "apiVersion")),
        ("invalid kind", text(object, "kind"), text(converted, "kind")),
    ];
    for (what, expected, received) in pairs {
        if expected != received {
            return Err(format!("{what} (expected {expected}, received {received})"));
        }
    }
    for (key, name) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (before, after) = (text(&object["metadata"], key), text(&converted["metadata"], key));
        if before != after {
            return Err(format!("must have the same {name}: {before} != {after}"));
        }
    }
    Ok(())
}

/// Of the metadata only labels and annotations are the webhook's to change.
fn restore_metadata(object: &Value, converted: &mut Value) -> Result<(), String> {
    let answered = converted["metadata"].take();
    let Value::Object(mut metadata) = object["metadata"].clone() else {
        return Err("invalid metadata in input object".to_owned());
    };
    if !answered.is_object() {
        return Err("missing metadata in converted object".to_owned());
    }
    for field in ["labels", "annotations"] {
        match &answered[field] {
            Value::Null => {
                metadata.shift_remove(field);
                continue;
            }
            Value::Object(words) => {
                if let Some((key, _)) = words.iter().find(|(_, word)| !word.is_string()) {
                    return Err(format!("metadata.{field}[{key}] must be a string in converted object"));
                }
            }
            _ => return Err(format!("invalid metadata.{field} in converted object")),
        }
        if metadata.get(field) != Some(&answered[field]) {
            let mut errors = Errors::new();
            let path = Path::new("metadata");
            match field {
                "labels" => validate_labels(&answered[field], &path.child("labels"), &mut errors),
                _ => validate_annotations(&answered[field], &path.child("annotation"), &mut errors),
            }
            if let Some(error) = errors.into_vec().first() {
                return Err(error.to_string());
            }
        }
        metadata.insert(field.to_owned(), answered[field].clone());
    }
    converted["metadata"] = Value::Object(metadata);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foo(version: &str) -> Value {
        json!({
            "apiVersion": format!("example.com/{version}"), "kind": "Foo",
            "metadata": {"name": "x", "namespace": "n", "uid": "u", "generation": 3, "labels": {"a": "b"}},
        })
    }

    /// What becomes of an answer with one object.
    fn answered(change: impl Fn(&mut Value)) -> Result<Value, String> {
        let review = Review::new(&json!(["v2", "v1"]), "example.com/v2").expect("both know v1");
        let mut object = foo("v1");
        let mut answer = json!({
            "kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
            "response": {"uid": review.uid, "result": {"status": "Success"}, "convertedObjects": [foo("v2")]},
        });
        change(&mut answer);
        let converted = review.converted(answer)?;
        review.accept(&mut [&mut object], converted)?;
        Ok(object)
    }

    #[test]
    fn a_webhook_may_change_labels_and_annotations_but_no_other_metadata() {
        let object = answered(|answer| {
            let metadata = &mut answer["response"]["convertedObjects"][0]["metadata"];
            metadata["generation"] = json!(9);
            metadata["annotations"] = json!({"was": "v1"});
            metadata["labels"].take();
        })
        .expect("accepted");
        assert_eq!(
            object["metadata"],
            json!({"name": "x", "namespace": "n", "uid": "u", "generation": 3, "annotations": {"was": "v1"}})
        );
        assert_eq!(object["apiVersion"], "example.com/v2");
    }

    #[test]
    fn an_answer_that_is_none_is_refused_in_the_words_of_kubernetes() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 10] = [
            (
                |a| a["kind"] = json!("X"),
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got apiextensions.k8s.io/v1, Kind=X",
            ),
            (|a| a["response"] = Value::Null, "no response provided"),
            (
                |a| a["response"]["result"] = json!({"status": "Failure", "message": "no way"}),
                "no way",
            ),
            (
                |a| a["response"]["result"] = json!({}),
                "response.result.status was '', not 'Success'",
            ),
            (
                |a| a["response"]["convertedObjects"] = json!([]),
                "returned 0 objects, expected 1",
            ),
            (
                |a| a["response"]["convertedObjects"][0]["apiVersion"] = json!("example.com/v1"),
                "returned invalid object: invalid groupVersion (expected example.com/v2, received example.com/v1)",
            ),
            (
                |a| a["response"]["convertedObjects"][0]["kind"] = json!("Bar"),
                "returned invalid object: invalid kind (expected Foo, received Bar)",
            ),
            (
                |a| a["response"]["convertedObjects"][0]["metadata"]["uid"] = json!("w"),
                "returned invalid object: must have the same UID: u != w",
            ),
            (
                |a| a["response"]["convertedObjects"][0]["metadata"]["labels"] = json!({"a": 1}),
                "returned invalid metadata: metadata.labels[a] must be a string in converted object",
            ),
            (
                |a| a["response"]["convertedObjects"][0]["metadata"]["labels"] = json!({"a": "-"}),
                "returned invalid metadata: metadata.labels: Invalid value: \"-\"",
            ),
        ];
        for (change, wanted) in cases {
            let refused = answered(change).expect_err(wanted);
            assert!(refused.starts_with(wanted), "{refused}");
        }
        assert!(answered(|a| a["response"]["uid"] = json!("w")).is_err_and(|why| why.contains("got \"w\"")));
    }
}
