//! Shell variables: values, export and read-only marks, function-local values.

use std::collections::{BTreeMap, HashMap};

/// Whether `text` can name a variable.
pub(super) fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// One variable.
#[derive(Clone, Debug, Default)]
pub(super) struct Var {
    /// `None`: marked (exported) but never set.
    pub value: Option<String>,
    pub exported: bool,
    pub readonly: bool,
}

/// All variables, and what `local` must put back.
#[derive(Debug, Default)]
pub(super) struct Vars {
    all: BTreeMap<String, Var>,
    frames: Vec<HashMap<String, Option<Var>>>,
}

impl Vars {
    /// Takes over the environment.
    pub(super) fn from_env() -> Self {
        let mut vars = Self::default();
        for (name, value) in std::env::vars_os() {
            let (name, value) = (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            );
            // Names that no script can say (as Kubernetes allows, `my.key`) still belong to the children.
            vars.all.insert(
                name,
                Var {
                    value: Some(value),
                    exported: true,
                    readonly: false,
                },
            );
        }
        vars
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all.get(name).and_then(|v| v.value.as_deref())
    }

    /// Sets a value; an error names the read-only variable.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) -> Result<(), String> {
        let var = self.all.entry(name.to_owned()).or_default();
        if var.readonly {
            return Err(format!("{name}: is read only"));
        }
        var.value = Some(value.into());
        Ok(())
    }

    pub(super) fn unset(&mut self, name: &str) -> Result<(), String> {
        if self.all.get(name).is_some_and(|v| v.readonly) {
            return Err(format!("{name}: is read only"));
        }
        self.all.remove(name);
        Ok(())
    }

    pub(super) fn export(&mut self, name: &str, exported: bool) {
        self.all.entry(name.to_owned()).or_default().exported = exported;
    }

    pub(super) fn freeze(&mut self, name: &str) {
        self.all.entry(name.to_owned()).or_default().readonly = true;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Var)> {
        self.all.iter()
    }

    /// The environment of a child.
    pub(super) fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all
            .iter()
            .filter(|(_, v)| v.exported)
            .filter_map(|(n, v)| Some((n.as_str(), v.value.as_deref()?)))
    }

    /// Saves a variable and returns what [`Self::restore`] needs.
    pub(super) fn save(&self, name: &str) -> Option<Var> {
        self.all.get(name).cloned()
    }

    pub(super) fn restore(&mut self, name: &str, saved: Option<Var>) {
        match saved {
            Some(var) => {
                self.all.insert(name.to_owned(), var);
            }
            None => {
                self.all.remove(name);
            }
        }
    }

    /// A function begins.
    pub(super) fn push_frame(&mut self) {
        self.frames.push(HashMap::new());
    }

    /// A function ends: its locals are gone.
    pub(super) fn pop_frame(&mut self) {
        for (name, saved) in self.frames.pop().unwrap_or_default() {
            self.restore(&name, saved);
        }
    }

    /// Makes `name` local to the function that runs. `false` outside of functions.
    pub(super) fn localize(&mut self, name: &str) -> bool {
        let current = self.all.get(name).cloned();
        let Some(frame) = self.frames.last_mut() else {
            return false;
        };
        frame.entry(name.to_owned()).or_insert(current);
        true
    }
}
