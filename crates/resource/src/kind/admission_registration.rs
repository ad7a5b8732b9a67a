//! `admissionregistration.k8s.io`: webhooks and policies, and which requests they are asked about.

use super::Kind;
use crate::check::label::validate_selector;
use crate::check::name::{NameRule, label_1035, qualified_name, segment, subdomain};
use crate::expressions::Expressions;
use crate::field::{Errors, Path};
use crate::json::{absent, blank, default_to, items, items_mut, object, set, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

/// ValidatingWebhookConfiguration and MutatingWebhookConfiguration.
pub(crate) struct WebhookConfiguration {
    pub mutating: bool,
}

/// ValidatingAdmissionPolicy and MutatingAdmissionPolicy.
pub(crate) struct AdmissionPolicy {
    pub mutating: bool,
}

/// The bindings of both.
pub(crate) struct AdmissionPolicyBinding {
    pub mutating: bool,
}

const REVIEWS: [&str; 2] = ["v1", "v1beta1"];
const MOST_CONDITIONS: usize = 64;
const MOST_ANNOTATIONS: usize = 20;
const LONGEST_EXPRESSION: usize = 5 * 1024;
const AT_LEAST_ONE: &str = "validations or auditAnnotations must contain at least one item";

/// What rules leave unsaid.
fn default_rules(owner: &mut Value, key: &str) {
    for rule in items_mut(owner, key) {
        default_to(rule, "scope", "*");
    }
}

fn default_matching(owner: &mut Value) {
    default_to(owner, "matchPolicy", "Equivalent");
    for key in ["namespaceSelector", "objectSelector"] {
        if absent(owner, key) {
            set(owner, key, json!({}));
        }
    }
}

fn default_resources(resources: &mut Value) {
    if resources.is_object() {
        default_matching(resources);
        default_rules(resources, "resourceRules");
        default_rules(resources, "excludeResourceRules");
    }
}

fn required_list<'a>(owner: &'a Value, key: &str, path: &Path, errors: &mut Errors) -> Vec<&'a str> {
    let list: Vec<&str> = items(&owner[key]).iter().filter_map(Value::as_str).collect();
    if list.is_empty() {
        errors.required(&path.child(key), "");
    }
    list
}

fn only_wildcard(owner: &Value, key: &str, what: &str, path: &Path, errors: &mut Errors) -> Vec<String> {
    let list = required_list(owner, key, path, errors);
    if list.len() > 1 && list.contains(&"*") {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.invalid(&path.child(key), owner[key].clone(), why);
    }
    list.into_iter().map(str::to_owned).collect()
}

fn check_rule(rule: &Value, operations: &[&str], path: &Path, errors: &mut Errors) {
    let own = only_wildcard(rule, "operations", "operations", path, errors);
    for (index, operation) in own.iter().enumerate() {
        if !operations.contains(&operation.as_str()) {
            errors.not_supported(&path.child("operations").index(index), operation.as_str(), operations);
        }
    }
    only_wildcard(rule, "apiGroups", "API groups", path, errors);
    let versions = only_wildcard(rule, "apiVersions", "API versions", path, errors);
    for (index, _) in versions.iter().enumerate().filter(|(_, version)| version.is_empty()) {
        errors.required(&path.child("apiVersions").index(index), "");
    }
    check_resources(rule, path, errors);
    let scopes = ["*", "Cluster", "Namespaced"];
    if !absent(rule, "scope") && !scopes.contains(&text(rule, "scope")) {
        errors.not_supported(&path.child("scope"), rule["scope"].clone(), &scopes);
    }
}

fn check_resources(rule: &Value, path: &Path, errors: &mut Errors) {
    let resources = required_list(rule, "resources", path, errors);
    let path = path.child("resources");
    let (mut all_below, mut below_all) = (Vec::new(), Vec::new());
    let (mut everything, mut mains, mut plain) = (false, false, false);
    for (index, resource) in resources.iter().enumerate() {
        if resource.is_empty() {
            errors.required(&path.index(index), "");
            continue;
        }
        everything |= *resource == "*/*";
        mains |= *resource == "*";
        let Some((name, below)) = resource.split_once('/') else {
            plain = *resource != "*";
            continue;
        };
        if all_below.contains(&name) {
            let why = format!("if '{name}/*' is present, must not specify {resource}");
            errors.invalid(&path.index(index), *resource, why);
        }
        if below_all.contains(&below) {
            let why = format!("if '*/{below}' is present, must not specify {resource}");
            errors.invalid(&path.index(index), *resource, why);
        }
        if below == "*" {
            all_below.push(name);
        }
        if name == "*" {
            below_all.push(below);
        }
    }
    if resources.len() > 1 && everything {
        let why = "if '*/*' is present, must not specify other resources";
        errors.invalid(&path, rule["resources"].clone(), why);
    }
    if mains && plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(&path, rule["resources"].clone(), why);
    }
}

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
/// A deletion has no object that could be changed.
const MUTATING_OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

fn check_enum(owner: &Value, key: &str, supported: &[&str], path: &Path, errors: &mut Errors) {
    let value = text(owner, key);
    if !absent(owner, key) && !supported.contains(&value) {
        errors.not_supported(&path.child(key), value, supported);
    }
}

fn check_conditions(owner: &Value, path: &Path, errors: &mut Errors) {
    let conditions = items(&owner["matchConditions"]);
    let path = path.child("matchConditions");
    if conditions.len() > MOST_CONDITIONS {
        errors.too_many(&path, conditions.len(), MOST_CONDITIONS);
    }
    let mut names = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        if text(condition, "expression").trim().is_empty() {
            errors.required(&path.child("expression"), "");
        }
        let name = text(condition, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
            continue;
        }
        for problem in qualified_name(name) {
            errors.invalid(&path.child("name"), name, problem);
        }
        if names.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        }
        names.push(name);
    }
}

fn check_match(resources: &Value, path: &Path, errors: &mut Errors) {
    if resources.is_null() {
        return;
    }
    check_enum(resources, "matchPolicy", &["Equivalent", "Exact"], path, errors);
    for key in ["namespaceSelector", "objectSelector"] {
        validate_selector(&resources[key], &path.child(key), errors);
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in items(&resources[list]).iter().enumerate() {
            let path = path.child(list).index(index);
            let mut seen = Vec::new();
            for (index, name) in items(&rule["resourceNames"]).iter().enumerate() {
                let (name, path) = (
                    name.as_str().unwrap_or_default(),
                    path.child("resourceNames").index(index),
                );
                for problem in segment(name) {
                    errors.invalid(&path, name, problem);
                }
                if seen.contains(&name) {
                    errors.duplicate(&path, name);
                }
                seen.push(name);
            }
            check_rule(rule, &OPERATIONS, &path, errors);
        }
    }
}

/// `webhooks.example.com`: a DNS name of at least three parts.
fn check_qualified(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let problems = subdomain(name);
    if !problems.is_empty() {
        errors.invalid(path, name, problems.join(","));
    } else if name.split('.').count() < 3 {
        errors.invalid(
            path,
            name,
            "should be a domain with at least three segments separated by dots",
        );
    }
}

fn check_client(config: &Value, path: &Path, errors: &mut Errors) {
    let (url, service) = (&config["url"], &config["service"]);
    if url.is_null() == service.is_null() {
        errors.required(path, "exactly one of url or service is required");
        return;
    }
    if let Some(url) = url.as_str() {
        return check_url(url, &path.child("url"), errors);
    }
    let path = path.child("service");
    for key in ["name", "namespace"] {
        if text(service, key).is_empty() {
            errors.required(&path.child(key), format!("service {key} is required"));
        }
    }
    let port = service["port"].as_i64().unwrap_or(443);
    if !(1..=65535).contains(&port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid(&path.child("port"), port, why);
    }
    let way = text(service, "path");
    if absent(service, "path") || way == "/" {
        return;
    }
    let path = path.child("path");
    if !way.starts_with('/') {
        errors.invalid(&path, way, "must start with a '/'");
    }
    let Some(rest) = way.strip_prefix('/') else { return };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    for (index, part) in rest.split('/').enumerate() {
        if part.is_empty() {
            errors.invalid(&path, way, format!("segment[{index}] may not be empty"));
            continue;
        }
        for problem in subdomain(part) {
            errors.invalid(&path, way, format!("segment[{index}]: {problem}"));
        }
    }
}

fn check_url(url: &str, path: &Path, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let Some((scheme, rest)) = url.split_once("://") else {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        return errors.invalid(path, url, why);
    };
    if scheme != "https" {
        errors.invalid(path, url, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() {
        errors.invalid(path, "", format!("host must be specified{FORM}"));
    }
    if let Some((user, _)) = authority.rsplit_once('@') {
        errors.invalid(path, user, "user information is not permitted in the URL");
    }
    if let Some((_, fragment)) = tail.split_once('#') {
        errors.invalid(path, fragment, "fragments are not permitted in the URL");
    }
    let query = tail.split('#').next().unwrap_or_default();
    if let Some((_, query)) = query.split_once('?') {
        errors.invalid(path, query, "query parameters are not permitted in the URL");
    }
}

fn check_reviews(hook: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("admissionReviewVersions");
    let versions: Vec<&str> = items(&hook["admissionReviewVersions"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if versions.is_empty() {
        errors.required(&path, format!("must specify one of {}", REVIEWS.join(", ")));
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        if versions[..index].contains(version) {
            errors.invalid(&path.index(index), *version, "duplicate version");
            continue;
        }
        for problem in label_1035(version) {
            errors.invalid(&path.index(index), *version, problem);
        }
    }
    if !versions.iter().any(|version| REVIEWS.contains(version)) {
        let why = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.invalid(&path, json!(versions), why);
    }
}

impl Kind for WebhookConfiguration {
    fn default(&self, configuration: &mut Value) {
        for hook in items_mut(configuration, "webhooks") {
            default_to(hook, "failurePolicy", "Fail");
            default_matching(hook);
            if absent(hook, "timeoutSeconds") {
                set(hook, "timeoutSeconds", 10);
            }
            if self.mutating {
                default_to(hook, "reinvocationPolicy", "Never");
            }
            default_rules(hook, "rules");
            if let Some(service) = crate::json::existing(&mut hook["clientConfig"], "service")
                && absent(service, "port")
            {
                set(service, "port", 443);
            }
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn desired(&self, configuration: &Value) -> Value {
        configuration["webhooks"].clone()
    }

    fn validate(&self, configuration: &Value, errors: &mut Errors) {
        let mut names = Vec::new();
        for (index, hook) in items(&configuration["webhooks"]).iter().enumerate() {
            let path = Path::new("webhooks").index(index);
            let name = text(hook, "name");
            check_qualified(name, &path.child("name"), errors);
            for (index, rule) in items(&hook["rules"]).iter().enumerate() {
                check_rule(rule, &OPERATIONS, &path.child("rules").index(index), errors);
            }
            check_enum(hook, "failurePolicy", &["Fail", "Ignore"], &path, errors);
            check_enum(hook, "matchPolicy", &["Equivalent", "Exact"], &path, errors);
            let effects = ["None", "NoneOnDryRun"];
            match absent(hook, "sideEffects") {
                true => {
                    let why = format!("must specify one of {}", effects.join(", "));
                    errors.required(&path.child("sideEffects"), why);
                }
                false => check_enum(hook, "sideEffects", &effects, &path, errors),
            }
            let seconds = hook["timeoutSeconds"].as_i64().unwrap_or(10);
            if !(1..=30).contains(&seconds) {
                let why = "the timeout value must be between 1 and 30 seconds";
                errors.invalid(&path.child("timeoutSeconds"), seconds, why);
            }
            for key in ["namespaceSelector", "objectSelector"] {
                validate_selector(&hook[key], &path.child(key), errors);
            }
            if self.mutating {
                check_enum(hook, "reinvocationPolicy", &["IfNeeded", "Never"], &path, errors);
            }
            check_client(&hook["clientConfig"], &path.child("clientConfig"), errors);
            check_conditions(hook, &path, errors);
            Expressions::of_webhook(hook).check(&path, hook, errors);
            check_reviews(hook, &path, errors);
            if !name.is_empty() && names.contains(&name) {
                errors.duplicate(&path.child("name"), name);
            }
            names.push(name);
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::integer("Webhooks", "How many webhooks are registered."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, configuration: &Value, now: Timestamp) -> Row {
        Row::new(vec![
            json!(name_of(configuration)),
            json!(items(&configuration["webhooks"]).len()),
            json!(age_of(configuration, now)),
        ])
    }
}

impl Kind for AdmissionPolicy {
    fn default(&self, policy: &mut Value) {
        let Some(spec) = object(policy, "spec") else { return };
        default_to(spec, "failurePolicy", "Fail");
        if let Some(resources) = spec.get_mut("matchConstraints") {
            default_resources(resources);
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, policy: &Value, errors: &mut Errors) {
        let (spec, path) = (&policy["spec"], Path::new("spec"));
        check_enum(spec, "failurePolicy", &["Fail", "Ignore"], &path, errors);
        if !absent(spec, "paramKind") {
            check_param_kind(&spec["paramKind"], &path.child("paramKind"), errors);
        }
        let constraints = &spec["matchConstraints"];
        let at = path.child("matchConstraints");
        if constraints.is_null() {
            errors.required(&at, "");
        } else {
            check_match(constraints, &at, errors);
            if items(&constraints["resourceRules"]).is_empty() {
                errors.required(&at.child("resourceRules"), "");
            }
            if self.mutating {
                only_mutable(constraints, &at, errors);
            }
        }
        check_conditions(spec, &path, errors);
        for (index, variable) in items(&spec["variables"]).iter().enumerate() {
            let path = path.child("variables").index(index);
            let name = text(variable, "name");
            if name.trim().is_empty() {
                errors.required(&path.child("name"), "name is not specified");
            } else if !knarr_cel::is_identifier(name) {
                errors.invalid(&path.child("name"), name, "must be a valid CEL identifier");
            }
            if text(variable, "expression").trim().is_empty() {
                errors.required(&path.child("expression"), "expression is not specified");
            }
        }
        match self.mutating {
            true => check_mutations(spec, &path, errors),
            false => check_validations(policy, &path, errors),
        }
        Expressions::of_policy(spec).check(&path, spec, errors);
    }

    fn columns(&self) -> Columns<'_> {
        const VALIDATING: &[Column] = &[
            Column::NAME,
            Column::integer("Validations", "How many validations the policy has."),
            Column::text("ParamKind", "The kind of its parameters."),
            Column::AGE,
        ];
        const MUTATING: &[Column] = &[
            Column::NAME,
            Column::integer("Mutations", "How many mutations the policy has."),
            Column::text("ParamKind", "The kind of its parameters."),
            Column::AGE,
        ];
        if self.mutating {
            MUTATING.into()
        } else {
            VALIDATING.into()
        }
    }

    fn row(&self, policy: &Value, now: Timestamp) -> Row {
        let (spec, key) = (&policy["spec"], if self.mutating { "mutations" } else { "validations" });
        let kind = &spec["paramKind"];
        let kind = match kind.is_object() {
            true => format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind")),
            false => "<unset>".to_owned(),
        };
        let count = items(&spec[key]).len();
        Row::new(vec![
            json!(name_of(policy)),
            json!(count),
            json!(kind),
            json!(age_of(policy, now)),
        ])
    }
}

/// There is nothing to change in what is deleted.
fn only_mutable(resources: &Value, path: &Path, errors: &mut Errors) {
    let rules = items(&resources["resourceRules"]).iter();
    for operation in rules.flat_map(|rule| items(&rule["operations"])) {
        let operation = operation.as_str().unwrap_or_default();
        if !MUTATING_OPERATIONS.contains(&operation) {
            let path = path.child("resourceRules").child("operations");
            errors.not_supported(&path, operation, &MUTATING_OPERATIONS);
        }
    }
}

fn check_param_kind(kind: &Value, path: &Path, errors: &mut Errors) {
    let api_version = text(kind, "apiVersion");
    let at = path.child("apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if api_version.is_empty() {
        errors.required(&at, "");
    } else if version.contains('/') {
        let why = format!("unexpected GroupVersion string: {api_version}");
        errors.invalid(&at, api_version, why);
    } else if version.is_empty() {
        errors.invalid(&at, api_version, "version must be specified");
    } else {
        let problems = if group.is_empty() { Vec::new() } else { subdomain(group) };
        if !problems.is_empty() {
            errors.invalid(&at, group, problems.join(","));
        }
        let problems = label_1035(version);
        if !problems.is_empty() {
            errors.invalid(&at, version, problems.join(","));
        }
    }
    let name = text(kind, "kind");
    let problems = label_1035(&name.to_lowercase());
    if name.is_empty() {
        errors.required(&path.child("kind"), "");
    } else if !problems.is_empty() {
        let why = format!(
            "may have mixed case, but should otherwise match: {}",
            problems.join(",")
        );
        errors.invalid(&path.child("kind"), name, why);
    }
}

fn check_validations(policy: &Value, path: &Path, errors: &mut Errors) {
    let spec = &policy["spec"];
    let (validations, annotations) = (items(&spec["validations"]), items(&spec["auditAnnotations"]));
    if validations.is_empty() && annotations.is_empty() {
        for key in ["validations", "auditAnnotations"] {
            errors.required(&path.child(key), AT_LEAST_ONE);
        }
        return;
    }
    for (index, validation) in validations.iter().enumerate() {
        let path = path.child("validations").index(index);
        if text(validation, "expression").trim().is_empty() {
            errors.required(&path.child("expression"), "expression is not specified");
        }
        for key in ["messageExpression", "message"] {
            let said = text(validation, key);
            if !said.is_empty() && said.trim().is_empty() {
                errors.invalid(&path.child(key), said, "must be non-empty if specified");
            }
        }
        let message = text(validation, "message");
        if message.trim().contains(['\n', '\r']) {
            errors.invalid(&path.child("message"), message, "must not contain line breaks");
        }
        let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
        check_enum(validation, "reason", &reasons, &path, errors);
    }
    let path = path.child("auditAnnotations");
    if annotations.len() > MOST_ANNOTATIONS {
        let why = format!("must not have more than {MOST_ANNOTATIONS} auditAnnotations");
        errors.invalid(&path, spec["auditAnnotations"].clone(), why);
    }
    let mut keys = Vec::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let path = path.index(index);
        let key = text(annotation, "key");
        let whole = format!("{}/{key}", name_of(policy));
        for problem in qualified_name(&whole) {
            errors.invalid(&path.child("key"), whole.as_str(), problem);
        }
        let expression = text(annotation, "valueExpression").trim();
        if expression.is_empty() {
            errors.required(&path.child("valueExpression"), "valueExpression is not specified");
        } else if expression.len() > LONGEST_EXPRESSION {
            let why = format!("must not exceed {LONGEST_EXPRESSION} bytes in length");
            errors.required(&path.child("valueExpression"), why);
        }
        if keys.contains(&key) {
            errors.duplicate(&path.child("key"), key);
        }
        keys.push(key);
    }
}

fn check_mutations(spec: &Value, path: &Path, errors: &mut Errors) {
    let mutations = items(&spec["mutations"]);
    if mutations.is_empty() {
        errors.required(&path.child("mutations"), "mutations must contain at least one item");
    }
    for (index, mutation) in mutations.iter().enumerate() {
        let path = path.child("mutations").index(index);
        let kind = text(mutation, "patchType");
        let (own, other) = match kind {
            "JSONPatch" => ("jsonPatch", "applyConfiguration"),
            "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
            "" => {
                errors.required(&path.child("patchType"), "");
                continue;
            }
            _ => {
                let supported = ["ApplyConfiguration", "JSONPatch"];
                errors.not_supported(&path.child("patchType"), kind, &supported);
                continue;
            }
        };
        if absent(mutation, own) {
            errors.required(&path.child(own), format!("must be specified when patchType is {kind}"));
        } else if text(&mutation[own], "expression").trim().is_empty() {
            errors.required(&path.child(own).child("expression"), "");
        }
        if !absent(mutation, other) {
            let why = format!("must not be specified when patchType is {kind}");
            errors.invalid(&path.child(other), format!("{{{other}}}"), why);
        }
    }
    if blank(spec, "reinvocationPolicy") {
        errors.required(&path.child("reinvocationPolicy"), "");
    } else {
        check_enum(spec, "reinvocationPolicy", &["IfNeeded", "Never"], path, errors);
    }
}

impl Kind for AdmissionPolicyBinding {
    fn default(&self, binding: &mut Value) {
        if let Some(spec) = object(binding, "spec")
            && let Some(resources) = spec.get_mut("matchResources")
        {
            default_resources(resources);
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, binding: &Value, errors: &mut Errors) {
        let (spec, path) = (&binding["spec"], Path::new("spec"));
        match text(spec, "policyName") {
            "" => errors.required(&path.child("policyName"), ""),
            name => NameRule::Subdomain.check(&path.child("policyName"), name, errors),
        }
        if !absent(spec, "paramRef") {
            check_param_ref(&spec["paramRef"], &path.child("paramRef"), errors);
        }
        check_match(&spec["matchResources"], &path.child("matchResources"), errors);
        if self.mutating {
            return only_mutable(&spec["matchResources"], &path.child("matchResources"), errors);
        }
        let path = path.child("validationActions");
        let actions: Vec<&str> = items(&spec["validationActions"])
            .iter()
            .filter_map(Value::as_str)
            .collect();
        for (index, action) in actions.iter().enumerate() {
            if !["Audit", "Deny", "Warn"].contains(action) {
                errors.not_supported(&path.index(index), *action, &["Audit", "Deny", "Warn"]);
            }
            if actions[..index].contains(action) {
                errors.duplicate(&path.index(index), *action);
            }
        }
        if actions.contains(&"Deny") && actions.contains(&"Warn") {
            let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
            errors.invalid(&path, json!(actions), why);
        }
        if actions.is_empty() {
            errors.required(&path, "at least one validation action is required");
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::text("PolicyName", "The policy that is bound."),
            Column::text("ParamRef", "Its parameters."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, binding: &Value, now: Timestamp) -> Row {
        let spec = &binding["spec"];
        let reference = &spec["paramRef"];
        let (namespace, name) = (text(reference, "namespace"), text(reference, "name"));
        let parameters = match (namespace, name) {
            ("", "") if reference["selector"].is_object() => reference["selector"].to_string(),
            (_, "") => "<unset>".to_owned(),
            // Whether the parameters live in namespaces is not known here.
            ("", name) => format!("*/{name}"),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        Row::new(vec![
            json!(name_of(binding)),
            json!(text(spec, "policyName")),
            json!(parameters),
            json!(age_of(binding, now)),
        ])
    }
}

fn check_param_ref(reference: &Value, path: &Path, errors: &mut Errors) {
    const EITHER: &str = "name and selector are mutually exclusive";
    let (name, selector) = (text(reference, "name"), &reference["selector"]);
    if !name.is_empty() {
        for problem in segment(name) {
            errors.invalid(&path.child("name"), name, problem);
        }
    }
    match (name.is_empty(), selector.is_null()) {
        (true, true) => errors.required(path, "one of name or selector must be specified"),
        (false, false) => {
            for key in ["name", "selector"] {
                errors.forbidden(&path.child(key), EITHER);
            }
        }
        _ => {}
    }
    validate_selector(selector, &path.child("selector"), errors);
    let path = path.child("parameterNotFoundAction");
    match text(reference, "parameterNotFoundAction") {
        "" => errors.required(&path, ""),
        "Deny" | "Allow" => {}
        other => errors.not_supported(&path, other, &["Deny", "Allow"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: &dyn Kind, mut object: Value) -> Vec<String> {
        kind.default(&mut object);
        let mut errors = Errors::new();
        kind.validate(&object, &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    fn rule() -> Value {
        json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]})
    }

    #[test]
    fn a_webhook_is_complete_or_refused() {
        let hook = json!({
            "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": "n", "name": "s"}}, "rules": [rule()],
        });
        let with = |key: &str, value: Value| {
            let mut hook = hook.clone();
            hook[key] = value;
            told(&WebhookConfiguration { mutating: true }, json!({"webhooks": [hook]}))
        };
        assert!(with("timeoutSeconds", json!(30)).is_empty());
        for (key, value, why) in [
            (
                "name",
                json!("a"),
                "webhooks[0].name: Invalid value: \"a\": should be a domain with at least three segments separated by dots",
            ),
            (
                "timeoutSeconds",
                json!(31),
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            ),
            (
                "sideEffects",
                json!(null),
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            ),
            (
                "sideEffects",
                json!("Some"),
                "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            ),
            (
                "admissionReviewVersions",
                json!(["v2"]),
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1",
            ),
            (
                "clientConfig",
                json!({}),
                "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            ),
            (
                "clientConfig",
                json!({"url": "http://x"}),
                "webhooks[0].clientConfig.url: Invalid value: \"http://x\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            ),
            (
                "reinvocationPolicy",
                json!("Always"),
                "webhooks[0].reinvocationPolicy: Unsupported value: \"Always\": supported values: \"IfNeeded\", \"Never\"",
            ),
        ] {
            assert_eq!(with(key, value), [why]);
        }
        let mut all = rule();
        all["resources"] = json!(["*", "pods"]);
        assert_eq!(
            with("rules", json!([all])),
            [
                "webhooks[0].rules[0].resources: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources without subresources"
            ]
        );
    }

    #[test]
    fn a_policy_is_complete_or_refused() {
        let spec = json!({"matchConstraints": {"resourceRules": [rule()]}, "validations": [{"expression": "true"}]});
        let with = |key: &str, value: Value| {
            let mut spec = spec.clone();
            spec[key] = value;
            told(
                &AdmissionPolicy { mutating: false },
                json!({"metadata": {"name": "p"}, "spec": spec}),
            )
        };
        assert!(with("failurePolicy", json!("Ignore")).is_empty());
        for (key, value, why) in [
            ("matchConstraints", json!(null), "spec.matchConstraints: Required value"),
            (
                "variables",
                json!([{"name": "in", "expression": "1"}]),
                "spec.variables[0].name: Invalid value: \"in\": must be a valid CEL identifier",
            ),
            (
                "paramKind",
                json!({"apiVersion": "v1"}),
                "spec.paramKind.kind: Required value",
            ),
            (
                "validations",
                json!([{"expression": "true", "message": "a\nb"}]),
                "spec.validations[0].message: Invalid value: \"a\\nb\": must not contain line breaks",
            ),
            (
                "matchConditions",
                json!([{"name": "a", "expression": ""}]),
                "spec.matchConditions[0].expression: Required value",
            ),
            (
                "matchConditions",
                json!([{"name": "a", "expression": "'x'"}]),
                "spec.matchConditions[0].expression: Invalid value: \"'x'\": must evaluate to bool but got string",
            ),
            (
                "validations",
                json!([{"expression": "true", "messageExpression": "params.x"}]),
                "spec.validations[0].messageExpression: Invalid value: \"params.x\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n | params.x\n | ^",
            ),
            (
                "auditAnnotations",
                json!([{"key": "k", "valueExpression": "1"}]),
                "spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of [string null_type] but got int",
            ),
        ] {
            assert_eq!(with(key, value), [why]);
        }
    }

    #[test]
    fn a_binding_says_what_happens() {
        let told = |spec: Value| told(&AdmissionPolicyBinding { mutating: false }, json!({"spec": spec}));
        assert!(told(json!({"policyName": "p", "validationActions": ["Deny", "Audit"]})).is_empty());
        assert_eq!(
            told(json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "x"}})),
            ["spec.paramRef.parameterNotFoundAction: Required value"]
        );
        assert_eq!(
            told(json!({"policyName": "p", "validationActions": ["Deny", "Warn"]}))[0]
                .split(": must")
                .next(),
            Some("spec.validationActions: Invalid value: [\"Deny\",\"Warn\"]")
        );
    }
}
