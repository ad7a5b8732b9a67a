//! kubia and its relatives, the example applications of *Kubernetes in Action*.

use super::{full, minimal};
use crate::definition::Definition;

/// A small web server that the originals write in JavaScript. `node` here runs the applications it knows by name.
fn app(name: &str) -> Definition {
    let text = format!(
        "// This application is built into knarr; `node` reads its name from the next line.\n// application: {name}\n"
    );
    full()
        .program("/usr/local/bin/node")
        .file("/app.js", 0o644, &text)
        .env("NODE_VERSION", "7.10.1")
        .entrypoint(&["node", "app.js"])
}

fn fortune(banner: &str, interval: &str) -> Definition {
    let script = format!(
        "#!/bin/bash\ntrap exit INT TERM\n{banner}mkdir -p /var/htdocs\nwhile :; do\n  echo \"$(date) Writing fortune to /var/htdocs/index.html\"\n  \
         fortune > /var/htdocs/index.html\n  sleep {interval} & wait $!\ndone\n"
    );
    full()
        .program("/usr/games/fortune")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/games",
        )
        .file("/bin/fortuneloop.sh", 0o755, &script)
}

pub(super) fn images() -> Vec<Definition> {
    let configured = |variable: &str| format!("echo \"Configured to generate new fortune every {variable} seconds\"\n");
    vec![
        // The notes build this one as plain `kubia`.
        app("kubia")
            .name("docker.io/luksa/kubia", &["latest"])
            .name("docker.io/library/kubia", &["latest"]),
        app("kubia-v1").name("docker.io/luksa/kubia", &["v1"]),
        app("kubia-v2").name("docker.io/luksa/kubia", &["v2"]),
        app("kubia-v3").name("docker.io/luksa/kubia", &["v3"]),
        app("kubia-v4").name("docker.io/luksa/kubia", &["v4"]),
        app("kubia-unhealthy").name("docker.io/luksa/kubia-unhealthy", &["latest"]),
        app("kubia-pet").name("docker.io/luksa/kubia-pet", &["latest"]),
        app("kubia-pet-peers").name("docker.io/luksa/kubia-pet-peers", &["latest"]),
        fortune("", "10")
            .name("docker.io/luksa/fortune", &["latest"])
            .entrypoint(&["/bin/sh", "-c", "/bin/fortuneloop.sh"]),
        fortune(&format!("INTERVAL=$1\n{}", configured("$INTERVAL")), "$INTERVAL")
            .name("docker.io/luksa/fortune", &["args"])
            .entrypoint(&["/bin/fortuneloop.sh"])
            .cmd(&["10"]),
        fortune(&configured("$INTERVAL"), "$INTERVAL")
            .name("docker.io/luksa/fortune", &["env"])
            .entrypoint(&["/bin/fortuneloop.sh"]),
        minimal("BusyBox (built into knarr)")
            .name("docker.io/luksa/batch-job", &["latest"])
            .entrypoint(&[
                "/bin/sh",
                "-c",
                "echo \"$(date) Batch job starting\"; sleep 120; echo \"$(date) Finished succesfully\"",
            ]),
        minimal("BusyBox (built into knarr)")
            .name("docker.io/luksa/ssd-monitor", &["latest"])
            .entrypoint(&["/bin/sh", "-c", "while true; do echo 'SSD OK'; sleep 5; done"]),
    ]
}
