//! Who may do what: the user, everybody, an account.

use serde_json::{Value, json};

use crate::action::{Argument, Command, Type};
use crate::cluster::{Change, ObjectRef, Read, Write};
use crate::document::{Document, TextLine};
use crate::error::{Error, Result};
use crate::keys::Line;
use crate::kind::rights::{Deed, Policy};
use crate::state::{Cx, Effect, Errand, Review, Then};
use crate::text;
use crate::theme::Role;
use crate::view::Target;

/// Verbs that are asked about.
const VERBS: &[&str] = &[
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
];

pub(super) const CAN_I: Command = Command::new(
    "rights.can-i",
    &[
        Argument::optional(Type::Choice(VERBS)),
        Argument::optional(Type::Kind),
        Argument::optional(Type::Name),
        Argument::option("-n", Type::Namespace),
    ],
    "Say whether the user may do something; without arguments, all that the user may do",
    can_i,
)
.aliases(&["can-i"]);
pub(super) const WHO_CAN: Command = Command::new(
    "rights.who-can",
    &[
        Argument::required(Type::Choice(VERBS)),
        Argument::required(Type::Kind),
        Argument::optional(Type::Name),
        Argument::option("-n", Type::Namespace),
    ],
    "List who may do something",
    who_can,
)
.aliases(&["who-can"]);
pub(super) const ACCOUNT: Command = Command::new(
    "rights.account",
    &[],
    "List what the service account, or that of the pod, may do",
    account,
)
.aliases(&["rights"]);

/// What a line asks about: the verb, the resource with its subresource, an object, a namespace.
fn deed(cx: &Cx<'_>, line: &Line) -> Result<Deed> {
    let words: Vec<&String> = {
        let mut words = Vec::new();
        let mut args = line.args.iter();
        while let Some(word) = args.next() {
            match &**word {
                "-n" => drop(args.next()),
                word if word.starts_with("-n=") => {}
                _ => words.push(word),
            }
        }
        words
    };
    let [verb, kind, rest @ ..] = words.as_slice() else {
        return Err(Error::usage("may who do what?").hint("for example `delete pods`, `get pods/log`"));
    };
    let (plain, sub) = kind
        .split_once('/')
        .map_or((kind.as_str(), None), |(kind, sub)| (kind, Some(sub)));
    let resource = cx.resource(plain)?;
    let namespace = match (resource.namespaced, line.value("-n")) {
        (false, _) => String::new(),
        (true, Some(space)) => space.to_owned(),
        (true, None) => cx.namespace().to_string(),
    };
    Ok(Deed {
        verb: (*verb).clone(),
        group: resource.group.to_string(),
        resource: sub.map_or_else(
            || resource.plural.to_string(),
            |sub| format!("{}/{sub}", resource.plural),
        ),
        namespace,
        name: rest.first().map_or_else(String::new, |name| (*name).clone()),
    })
}

/// Asks for a review: the server keeps nothing of it.
fn review(cx: &mut Cx<'_>, line: &Line, plural: &str, errand: Errand, body: Value) -> Result<()> {
    let cluster = cx.data.cluster().id;
    let change = Change {
        target: ObjectRef {
            cluster,
            resource: cx.resource(plural)?,
            namespace: None,
            name: "review".into(),
            uid: None,
        },
        before: None,
        request: Write::Create(body),
    };
    let id = cx.wait_in(cluster, Then::GoOn(errand, line.clone(), Vec::new()));
    cx.effect(Effect::Ask(id, Box::new(change)));
    Ok(())
}

fn can_i(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    if line.args.is_empty() {
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": &*cx.namespace()},
        });
        return review(cx, line, "selfsubjectrulesreviews", Errand::Rights, body);
    }
    let deed = deed(cx, line)?;
    let (resource, sub) = deed.resource.split_once('/').unwrap_or((&deed.resource, ""));
    let body = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {
            "verb": deed.verb,
            "group": deed.group,
            "resource": resource,
            "subresource": sub,
            "namespace": deed.namespace,
            "name": deed.name,
        }},
    });
    review(cx, line, "selfsubjectaccessreviews", Errand::CanI, body)
}

/// The server has said whether the user may.
pub(super) fn told(cx: &mut Cx<'_>, line: &Line, answer: &Value) {
    let status = &answer["status"];
    let what = line.args.join(" ");
    let why = status["reason"].as_str().filter(|why| !why.is_empty());
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    match status["allowed"] == true {
        true => cx.say(format!("yes, {} may {what}{why}", cx.data.cluster().user)),
        false => cx.say(format!("no, {} may not {what}{why}", cx.data.cluster().user)),
    }
}

/// What the user may do, as the server lists it.
pub(super) fn rights(cx: &mut Cx<'_>, keys: u64, answer: &Value) {
    let mut document = Document::new();
    let rules = answer["status"]["resourceRules"].as_array();
    for rule in rules.into_iter().flatten() {
        document.push(rule_line(rule, ""));
    }
    if answer["status"]["incomplete"] == true {
        document.push(TextLine::new().with(Role::Warning, "The list is not complete."));
    }
    let title = format!("what {} may do in {}", cx.data.cluster().user, cx.namespace());
    show(cx, keys, title, document);
}

/// A rule on a line: verbs, then resources.
fn rule_line(rule: &Value, by: &str) -> TextLine {
    let words = |key: &str| {
        let list = rule[key].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let groups: Vec<String> = words("apiGroups")
        .into_iter()
        .filter(|group| !group.is_empty())
        .collect();
    let mut line = TextLine::new()
        .with(Role::Strong, &text::pad_right(&words("verbs").join(","), 34))
        .with(Role::Text, "  ")
        .with(
            Role::Value,
            &[words("resources"), words("nonResourceURLs")].concat().join(","),
        );
    if !groups.is_empty() {
        line.push(Role::Dim, &format!("  of {}", groups.join(",")));
    }
    let names = words("resourceNames");
    if !names.is_empty() {
        line.push(Role::Field, &format!("  only {}", names.join(",")));
    }
    if !by.is_empty() {
        line.push(Role::Dim, &format!("  by {by}"));
    }
    line.hanging(36)
}

fn show(cx: &mut Cx<'_>, keys: u64, title: String, mut document: Document) {
    if document.lines.is_empty() {
        document.push(TextLine::new().with(Role::Dim, "nothing"));
    }
    let review = Review {
        title: title.clone(),
        document,
        question: None,
    };
    cx.present(keys, title, review);
}

/// Reads roles and bindings.
fn read_policy(cx: &mut Cx<'_>, line: &Line, errand: Errand, targets: Vec<Target>) -> Result<()> {
    let cluster = targets.first().map_or(cx.data.cluster().id, |target| target.id.cluster);
    let reads = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"]
        .iter()
        .map(|plural| {
            let resource = cx.resource(&format!("{plural}.rbac.authorization.k8s.io"))?;
            Ok(Read::new(resource.path(None), format!("list {plural}")))
        })
        .collect::<Result<Vec<_>>>()?;
    let id = cx.wait_in(cluster, Then::GoOn(errand, line.clone(), targets));
    cx.effect(Effect::List(id, cluster, reads));
    Ok(())
}

fn policy(lists: &[Vec<Value>]) -> Result<Policy<'_>> {
    let [roles, cluster_roles, bindings, cluster_bindings] = lists else {
        return Err(Error::usage("the roles were not all read"));
    };
    Ok(Policy {
        roles,
        cluster_roles,
        bindings,
        cluster_bindings,
    })
}

fn who_can(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    deed(cx, line)?;
    read_policy(cx, line, Errand::WhoCan, Vec::new())
}

/// The roles are known: who may.
pub(super) fn everybody(cx: &mut Cx<'_>, keys: u64, line: &Line, lists: &[Vec<Value>]) -> Result<()> {
    let deed = deed(cx, line)?;
    let mut document = Document::new();
    for grant in policy(lists)?.who_can(&deed) {
        let role = match grant.role == grant.binding {
            true => String::new(),
            false => format!(" (role {})", grant.role),
        };
        document.push(
            TextLine::new()
                .with(Role::Dim, &text::pad_right(&grant.kind, 16))
                .with(Role::Strong, &text::pad_right(&grant.subject, 44))
                .with(Role::Dim, &format!("  by {}{role}", grant.binding))
                .hanging(18),
        );
    }
    let place = match &*deed.namespace {
        "" => String::new(),
        space => format!(" in {space}"),
    };
    show(
        cx,
        keys,
        format!("who may {} {}{place}", deed.verb, deed.resource),
        document,
    );
    Ok(())
}

fn account(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let target = cx.target()?;
    if !matches!(&*target.resource.plural, "serviceaccounts" | "pods") {
        return Err(Error::usage(format!(
            "{} is neither an account nor a pod that has one",
            target.id.name
        )));
    }
    read_policy(cx, line, Errand::Account, vec![target])
}

/// The roles are known: what the account may do.
pub(super) fn of_account(cx: &mut Cx<'_>, keys: u64, targets: &[Target], lists: &[Vec<Value>]) -> Result<()> {
    let target = targets
        .first()
        .ok_or_else(|| Error::usage("nothing is selected here"))?;
    let object = target.object.value();
    let name = match &*target.resource.plural {
        "pods" => object["spec"]["serviceAccountName"]
            .as_str()
            .unwrap_or("default")
            .to_owned(),
        _ => target.id.name.to_string(),
    };
    let mut document = Document::new();
    for (rule, binding, everywhere) in policy(lists)?.rules_of(&target.id.namespace, &name) {
        let by = if everywhere {
            format!("{binding}, everywhere")
        } else {
            binding
        };
        document.push(rule_line(rule, &by));
    }
    show(
        cx,
        keys,
        format!("what account {name} of {} may do", target.id.namespace),
        document,
    );
    Ok(())
}
