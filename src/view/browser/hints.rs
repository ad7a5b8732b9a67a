//! The actions a table offers in the bottom line, by kind.

/// Actions and the words for them, most useful first.
pub(super) fn of(plural: &str) -> &'static [(&'static str, &'static str)] {
    match plural {
        "pods" => &[
            ("object.describe", "describe"),
            ("pod.logs", "logs"),
            ("pod.shell", "shell"),
            ("pod.forward", "forward"),
            ("object.yaml", "yaml"),
            ("object.label", "label"),
            ("object.delete", "delete"),
            ("mark.toggle", "mark"),
            ("filter.open", "filter"),
            ("command.open", "command"),
            ("help.open", "help"),
        ],
        "deployments" | "replicasets" => &[
            ("view.enter", "pods"),
            ("object.describe", "describe"),
            ("object.scale", "scale"),
            ("object.yaml", "yaml"),
            ("object.edit", "edit"),
            ("object.delete", "delete"),
            ("filter.open", "filter"),
            ("command.open", "command"),
            ("help.open", "help"),
        ],
        "namespaces" => &[
            ("view.enter", "use"),
            ("namespace.create", "create"),
            ("object.describe", "describe"),
            ("object.yaml", "yaml"),
            ("object.delete", "delete"),
            ("filter.open", "filter"),
            ("command.open", "command"),
            ("help.open", "help"),
        ],
        _ => &[
            ("view.enter", "open"),
            ("object.describe", "describe"),
            ("object.yaml", "yaml"),
            ("object.edit", "edit"),
            ("object.label", "label"),
            ("object.delete", "delete"),
            ("filter.open", "filter"),
            ("command.open", "command"),
            ("help.open", "help"),
        ],
    }
}
