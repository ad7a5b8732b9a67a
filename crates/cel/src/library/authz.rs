//! What policies may ask of the authorizer. <https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-authorizer-library>

use std::fmt;
use std::sync::Arc;

use knarr_apimachinery::validation;

use super::opaque::Opaque;
use super::{Run, unfit};
use crate::eval::{Outcome, fail};
use crate::value::Val;

/// Decides who may do what. It answers at once: an expression does not wait.
pub trait Authorizer: Send + Sync {
    /// Whether the requester, or the ServiceAccount that the question names, may do it.
    fn authorize(&self, question: &Question) -> Decision;
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Namespace and name of a ServiceAccount; without one the requester is meant.
    pub service_account: Option<(String, String)>,
    /// A path that is no resource.
    pub path: Option<String>,
    /// API group.
    pub group: String,
    /// Resource, plural.
    pub resource: String,
    /// Subresource, or nothing.
    pub subresource: String,
    /// Namespace, or nothing.
    pub namespace: String,
    /// Name, or nothing.
    pub name: String,
    /// Field selector, or nothing.
    pub field_selector: String,
    /// Label selector, or nothing.
    pub label_selector: String,
    /// Verb: of HTTP, in lower case, for paths, of the API for resources.
    pub verb: String,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Allowed.
    pub allowed: bool,
    /// Why, if anybody said so.
    pub reason: String,
    /// What went wrong, if anything did.
    pub error: Option<String>,
}

/// The authorizer, asked for somebody.
#[derive(Clone)]
pub struct Access {
    authorizer: Arc<dyn Authorizer>,
    service_account: Option<(String, String)>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("service_account", &self.service_account)
            .finish_non_exhaustive()
    }
}

/// A question that still grows.
#[derive(Clone, Debug)]
pub struct Check {
    access: Access,
    question: Question,
    kind: CheckKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum CheckKind {
    Path,
    Group,
    Resource,
}

impl Check {
    pub(super) fn type_name(&self) -> &'static str {
        match self.kind {
            CheckKind::Path => "kubernetes.authorization.PathCheck",
            CheckKind::Group => "kubernetes.authorization.GroupCheck",
            CheckKind::Resource => "kubernetes.authorization.ResourceCheck",
        }
    }
}

impl Val<'_> {
    /// The variable `authorizer`.
    pub fn authorizer(authorizer: Arc<dyn Authorizer>) -> Self {
        Val::Opaque(Opaque::Authorizer(Access {
            authorizer,
            service_account: None,
        }))
    }

    /// The variable `authorizer.requestResource`: a question on what the request is about, without a verb.
    pub fn resource_check(authorizer: Arc<dyn Authorizer>, question: Question) -> Self {
        let access = Access {
            authorizer,
            service_account: None,
        };
        check(access, question, CheckKind::Resource)
    }
}

fn check<'a>(access: Access, question: Question, kind: CheckKind) -> Val<'a> {
    Val::Opaque(Opaque::Check(Arc::new(Check { access, question, kind })))
}

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "path" => |_, args, _| match args {
            [Val::Opaque(Opaque::Authorizer(_)), Val::String(path)] if path.trim().is_empty() => {
                fail("path must not be empty")
            }
            [Val::Opaque(Opaque::Authorizer(access)), Val::String(path)] => {
                let question = Question {
                    path: Some(path.to_string()),
                    ..Question::default()
                };
                Ok(check(access.clone(), question, CheckKind::Path))
            }
            _ => unfit(),
        },
        "group" => |_, args, _| match args {
            [Val::Opaque(Opaque::Authorizer(access)), Val::String(group)] => {
                let question = Question {
                    group: group.to_string(),
                    ..Question::default()
                };
                Ok(check(access.clone(), question, CheckKind::Group))
            }
            _ => unfit(),
        },
        "serviceAccount" => |_, args, _| match args {
            [
                Val::Opaque(Opaque::Authorizer(access)),
                Val::String(namespace),
                Val::String(name),
            ] => {
                if !validation::subdomain(name).is_empty() {
                    return fail("Invalid service account name");
                }
                if !validation::label(namespace).is_empty() {
                    return fail("Invalid service account namespace");
                }
                let service_account = Some((namespace.to_string(), name.to_string()));
                Ok(Val::Opaque(Opaque::Authorizer(Access {
                    service_account,
                    ..access.clone()
                })))
            }
            _ => unfit(),
        },
        "resource" => |_, args, _| match args {
            [Val::Opaque(Opaque::Check(group)), Val::String(resource)] if group.kind == CheckKind::Group => {
                if resource.trim().is_empty() {
                    return fail("resource must not be empty");
                }
                let question = Question {
                    resource: resource.to_string(),
                    ..group.question.clone()
                };
                Ok(check(group.access.clone(), question, CheckKind::Resource))
            }
            _ => unfit(),
        },
        "subresource" => |_, args, _| narrowed(args, |question, value| question.subresource = value),
        "namespace" => |_, args, _| narrowed(args, |question, value| question.namespace = value),
        "name" => |_, args, _| narrowed(args, |question, value| question.name = value),
        "fieldSelector" => |_, args, _| narrowed(args, |question, value| question.field_selector = value),
        "labelSelector" => |_, args, _| narrowed(args, |question, value| question.label_selector = value),
        "check" => |_, args, _| match args {
            [Val::Opaque(Opaque::Check(check)), Val::String(verb)] if check.kind != CheckKind::Group => {
                let question = Question {
                    verb: verb.to_string(),
                    service_account: check.access.service_account.clone(),
                    ..check.question.clone()
                };
                let decision = check.access.authorizer.authorize(&question);
                Ok(Val::Opaque(Opaque::Decision(Arc::new(decision))))
            }
            _ => unfit(),
        },
        "allowed" => |_, args, _| answer(args, |decision| Val::Bool(decision.allowed)),
        "reason" => |_, args, _| answer(args, |decision| Val::string(decision.reason.as_str())),
        "errored" => |_, args, _| answer(args, |decision| Val::Bool(decision.error.is_some())),
        "error" => |_, args, _| {
            answer(args, |decision| {
                Val::string(decision.error.as_deref().unwrap_or_default())
            })
        },
        _ => return None,
    })
}

fn narrowed<'a>(args: &[Val<'a>], set: fn(&mut Question, String)) -> Outcome<Val<'a>> {
    match args {
        [Val::Opaque(Opaque::Check(found)), Val::String(value)] if found.kind == CheckKind::Resource => {
            let mut question = found.question.clone();
            set(&mut question, value.to_string());
            Ok(check(found.access.clone(), question, CheckKind::Resource))
        }
        _ => unfit(),
    }
}

fn answer<'a>(args: &[Val<'a>], of: fn(&Decision) -> Val<'static>) -> Outcome<Val<'a>> {
    match args {
        [Val::Opaque(Opaque::Decision(decision))] => Ok(of(decision)),
        _ => unfit(),
    }
}
