//! The rule each kind has for its names.

pub(crate) use knarr_apimachinery::validation::{
    config_key, env_name, label, label_1035, label_value, port_name, qualified_name, segment, subdomain,
};

use knarr_apimachinery::validation::masked_prefix;

use crate::field::{Errors, Path};

/// The shape the name of an object must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameRule {
    /// DNS subdomain: the rule of most kinds.
    Subdomain,
    /// DNS label: namespaces.
    Label,
    /// DNS label that starts with a letter: services.
    Label1035,
    /// Anything that can be one part of a path: RBAC.
    Segment,
}

impl NameRule {
    pub(crate) fn problems(self, name: &str) -> Vec<String> {
        match self {
            Self::Subdomain => subdomain(name),
            Self::Label => label(name),
            Self::Label1035 => label_1035(name),
            Self::Segment => segment(name),
        }
    }

    pub(crate) fn check(self, path: &Path, name: &str, errors: &mut Errors) {
        for problem in self.problems(name) {
            errors.invalid(path, name, problem);
        }
    }

    /// A prefix may end in a dash, because letters follow it.
    pub(crate) fn check_prefix(self, path: &Path, prefix: &str, errors: &mut Errors) {
        let masked = if self == Self::Segment {
            prefix.to_owned()
        } else {
            masked_prefix(prefix)
        };
        for problem in self.problems(&masked) {
            errors.invalid(path, prefix, problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_may_end_in_a_dash_but_not_be_one() {
        let problems = |prefix| {
            let mut errors = Errors::new();
            NameRule::Subdomain.check_prefix(&Path::new("x"), prefix, &mut errors);
            errors.into_vec().len()
        };
        assert_eq!(
            (problems("a-"), problems("a"), problems("-"), problems("A-")),
            (0, 0, 1, 1)
        );
    }
}
