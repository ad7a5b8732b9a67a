//! Refusals: the `Status` objects that an API server answers instead of what was asked for.

use crate::field::{FieldError, quote};
use crate::resource::ResourceInfo;
use serde_json::{Map, Value, json};

/// A refusal, complete: code, reason, message and details.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason, such as `NotFound`.
    pub reason: &'static str,
    /// The sentence shown to people.
    pub message: String,
    /// `Status.details`, [`Value::Null`] if there are none.
    pub details: Value,
}

impl Status {
    /// 422: the object has mistakes. `kind` is the kind the client sent, which for a subresource is not the resource's.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let mut lines: Vec<String> = Vec::new();
        for error in errors {
            let line = error.to_string();
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        let what = match lines.len() {
            0 => String::new(),
            1 => format!(": {}", lines[0]),
            _ => format!(": [{}]", lines.join(", ")),
        };
        let causes: Vec<Value> = errors
            .iter()
            .map(|e| json!({"reason": e.cause.reason(), "message": e.body(), "field": e.path.as_str()}))
            .collect();
        let qualified = qualify(kind, group);
        Self {
            code: 422,
            reason: "Invalid",
            message: format!("{qualified} {} is invalid{what}", quote(name)),
            details: details(group, kind, name, causes),
        }
    }

    /// 403: the request is not allowed for the reason given.
    pub fn forbidden(resource: &ResourceInfo, name: &str, why: &str) -> Self {
        let qualified = qualify(&resource.plural, &resource.group);
        let message = if name.is_empty() {
            format!("{qualified} is forbidden: {why}")
        } else {
            format!("{qualified} {} is forbidden: {why}", quote(name))
        };
        Self {
            code: 403,
            reason: "Forbidden",
            message,
            details: details(&resource.group, &resource.plural, name, Vec::new()),
        }
    }

    /// 404: there is no such object.
    pub fn not_found(resource: &ResourceInfo, name: &str) -> Self {
        Self::missing(&resource.group, &resource.plural, name)
    }

    /// 404: no object of this name, of a resource that need not be served.
    pub fn missing(group: &str, plural: &str, name: &str) -> Self {
        Self {
            code: 404,
            reason: "NotFound",
            message: format!("{} {} not found", qualify(plural, group), quote(name)),
            details: details(group, plural, name, Vec::new()),
        }
    }

    /// 409: the object is there already.
    pub fn already_exists(resource: &ResourceInfo, name: &str) -> Self {
        Self {
            code: 409,
            reason: "AlreadyExists",
            message: format!(
                "{} {} already exists",
                qualify(&resource.plural, &resource.group),
                quote(name)
            ),
            details: details(&resource.group, &resource.plural, name, Vec::new()),
        }
    }

    /// 409: the object is not in the state the request assumed.
    pub fn conflict(resource: &ResourceInfo, name: &str, why: &str) -> Self {
        Self {
            code: 409,
            reason: "Conflict",
            message: format!(
                "Operation cannot be fulfilled on {} {}: {why}",
                qualify(&resource.plural, &resource.group),
                quote(name)
            ),
            details: details(&resource.group, &resource.plural, name, Vec::new()),
        }
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self {
            code: 400,
            reason: "BadRequest",
            message: message.into(),
            details: Value::Null,
        }
    }

    /// Adds a cause, as `NamespaceTerminating` is added to a refusal to create in a terminating namespace.
    #[must_use]
    pub fn with_cause(mut self, reason: &str, message: &str, field: &str) -> Self {
        let mut cause = json!({"reason": reason, "message": message});
        if !field.is_empty() {
            cause["field"] = Value::from(field);
        }
        if !self.details.is_object() {
            self.details = Value::Object(Map::new());
        }
        match self.details["causes"].as_array_mut() {
            Some(causes) => causes.push(cause),
            None => self.details["causes"] = Value::from(vec![cause]),
        }
        self
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        });
        // Errors that nobody has given a reason have none.
        if !self.reason.is_empty() {
            status["reason"] = Value::from(self.reason);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status["code"] = Value::from(self.code);
        status
    }
}

/// `deployments.apps`, or just `pods` in the core group.
fn qualify(word: &str, group: &str) -> String {
    if group.is_empty() {
        return word.to_owned();
    }
    format!("{word}.{group}")
}

fn details(group: &str, kind: &str, name: &str, causes: Vec<Value>) -> Value {
    let mut details = Map::new();
    for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            details.insert(key.to_owned(), Value::from(value));
        }
    }
    if !causes.is_empty() {
        details.insert("causes".to_owned(), Value::from(causes));
    }
    Value::Object(details)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;
    use crate::{Errors, Path};

    #[test]
    fn an_invalid_status_names_every_mistake_once() {
        let mut errors = Errors::new();
        errors.required(&Path::new("spec").child("a"), "");
        let one = Status::invalid("apps", "Deployment", "x", &errors.clone().into_vec());
        assert_eq!(one.message, r#"Deployment.apps "x" is invalid: spec.a: Required value"#);
        errors.required(&Path::new("spec").child("a"), "");
        errors.duplicate(&Path::new("spec").child("b"), "v");
        let two = Status::invalid("", "Pod", "x", &errors.into_vec()).to_value();
        assert_eq!(
            two["message"],
            r#"Pod "x" is invalid: [spec.a: Required value, spec.b: Duplicate value: "v"]"#
        );
        assert_eq!(two["details"]["causes"].as_array().map(Vec::len), Some(3));
        assert_eq!(
            two["details"]["causes"][2],
            json!({"reason": "FieldValueDuplicate", "message": "Duplicate value: \"v\"", "field": "spec.b"})
        );
        assert_eq!(two["code"], 422);
    }

    #[test]
    fn refusals_name_the_resource_with_its_group() {
        let deployments = find("apps", "v1", "deployments").expect("served");
        assert_eq!(
            Status::not_found(deployments, "x").message,
            r#"deployments.apps "x" not found"#
        );
        let pods = find("", "v1", "pods").expect("served");
        let failure = Status::forbidden(pods, "", "no").with_cause("R", "m", "f");
        assert_eq!(failure.message, "pods is forbidden: no");
        assert_eq!(
            failure.details,
            json!({"kind": "pods", "causes": [{"reason": "R", "message": "m", "field": "f"}]})
        );
    }
}
