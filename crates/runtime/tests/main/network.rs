//! Pods' networks, and the ways in.

use std::net::{IpAddr, SocketAddr};

use knarr_runtime::{Mode, NodeSpec, RuntimeError, SandboxSpec};
use libtest_mimic::Failed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Test;
use crate::stage::{Stage, read_until};

/// What takes namespaces.
pub const TESTS: &[(&str, Test)] = &[
    ("pods_reach_each_other_and_the_node_by_ip", pod_to_pod),
    ("dialling_reaches_servers_on_the_pod_s_loopback", dial),
    ("containers_of_a_pod_share_its_network", shared_network),
    ("a_host_network_pod_has_the_node_s_address", host_network),
    ("the_node_listens_on_any_service_address", services),
    ("sandboxes_are_made_once_per_id", idempotent),
    ("pods_of_two_nodes_reach_each_other_until_one_is_cut_off", two_nodes),
];

/// What plain processes can do too.
pub const SHARED: &[(&str, Test)] = &[
    ("sandboxes_are_made_once_per_id", idempotent),
    ("the_node_listens_on_its_address", listens),
];

/// A server that greets whoever comes: the host's Python, or its netcat.
fn server(address: &str, port: u16) -> String {
    format!(
        "exec python3 -u -c 'import socket\n\
         s=socket.create_server((\"{address}\",{port}),family=socket.AF_INET6 if \":\" in \"{address}\" else socket.AF_INET)\n\
         print(\"ready\")\n\
         while True:\n c,a=s.accept()\n c.sendall((\"hello \"+a[0]).encode())\n c.close()'"
    )
}

fn client(address: IpAddr, port: u16) -> String {
    format!(
        "exec python3 -c 'import socket\ns=socket.create_connection((\"{address}\",{port}),5)\nprint(s.recv(100).decode())'"
    )
}

async fn greeting(mut connection: Box<dyn knarr_runtime::Connection>) -> String {
    let mut text = String::new();
    connection.read_to_string(&mut text).await.expect("read the greeting");
    text
}

fn pod_to_pod(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let (a, b) = (stage.sandbox().await, stage.sandbox().await);
        assert_ne!(a.ip, b.ip);
        let mut serving = stage.start(&stage.shell(&a, &server("0.0.0.0", 80))).await;
        read_until(&mut serving.stdout, "ready").await;
        let ended = stage.finish(&stage.shell(&b, &client(a.ip, 80))).await;
        assert_eq!(ended.out, format!("hello {}\n", b.ip), "{}", ended.err);
        let seen = greeting(stage.runtime.dial_node((a.ip, 80).into()).await?).await;
        assert_eq!(seen, format!("hello {}", stage.runtime.node_ip()));
        stage.runtime.remove_sandbox(&a.id).await?;
        Ok(stage.runtime.remove_sandbox(&b.id).await?)
    })
}

fn two_nodes(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let spec = NodeSpec {
            number: 9,
            ..NodeSpec::default()
        };
        let second = stage.runtime.add_node(spec).await?.expect("a network of its own");
        assert_eq!(second.node_ip(), IpAddr::from([10, 244, 9, 1]));
        let here = stage.sandbox().await;
        let there = SandboxSpec {
            id: "there".into(),
            hostname: "there".into(),
            ..SandboxSpec::default()
        };
        let there = second.create_sandbox(there).await?;
        assert_eq!(there.ip, IpAddr::from([10, 244, 9, 2]));
        let mut serving = stage.start(&stage.shell(&there, &server("0.0.0.0", 80))).await;
        read_until(&mut serving.stdout, "ready").await;
        let ended = stage.finish(&stage.shell(&here, &client(there.ip, 80))).await;
        assert_eq!(ended.out, format!("hello {}\n", here.ip), "{}", ended.err);
        // Each node has ports of its own.
        let port = |ip: IpAddr| SocketAddr::new(ip, 7070);
        let _first = stage.runtime.listen_node(port(stage.runtime.node_ip())).await?;
        let _second = second.listen_node(port(second.node_ip())).await?;

        second.connect(false).await?;
        let own = greeting(second.dial_node((there.ip, 80).into()).await?).await;
        assert_eq!(own, "hello 10.244.9.1", "a node that is cut off reaches its own pods");
        let ended = stage.finish(&stage.shell(&here, &client(there.ip, 80))).await;
        assert_eq!(ended.out, "", "and nobody else does");
        second.connect(true).await?;
        let ended = stage.finish(&stage.shell(&here, &client(there.ip, 80))).await;
        assert_eq!(ended.out, format!("hello {}\n", here.ip), "{}", ended.err);

        stage.runtime.remove_sandbox(&here.id).await?;
        second.remove_sandbox(&there.id).await?;
        Ok(second.remove_node().await?)
    })
}

fn dial(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let pod = stage.sandbox().await;
        let mut four = stage.start(&stage.shell(&pod, &server("127.0.0.1", 8080))).await;
        let mut six = stage.start(&stage.shell(&pod, &server("::1", 8081))).await;
        read_until(&mut four.stdout, "ready").await;
        read_until(&mut six.stdout, "ready").await;
        assert_eq!(
            greeting(stage.runtime.dial(&pod.id, 8080).await?).await,
            "hello 127.0.0.1"
        );
        assert_eq!(greeting(stage.runtime.dial(&pod.id, 8081).await?).await, "hello ::1");
        match stage.runtime.dial(&pod.id, 9).await.map(drop) {
            Err(RuntimeError::Io { source, .. }) => assert_eq!(source.kind(), std::io::ErrorKind::ConnectionRefused),
            other => panic!("not refused: {other:?}"),
        }
        Ok(stage.runtime.remove_sandbox(&pod.id).await?)
    })
}

fn shared_network(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let pod = stage.sandbox().await;
        let mut serving = stage.start(&stage.shell(&pod, &server("127.0.0.1", 7000))).await;
        read_until(&mut serving.stdout, "ready").await;
        let ended = stage
            .finish(&stage.shell(&pod, &client([127, 0, 0, 1].into(), 7000)))
            .await;
        assert_eq!(ended.out, "hello 127.0.0.1\n", "{}", ended.err);
        Ok(stage.runtime.remove_sandbox(&pod.id).await?)
    })
}

fn host_network(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let pod = stage.sandbox_with(|spec| spec.host_network = true).await;
        assert_eq!(pod.ip, stage.runtime.node_ip());
        let mut serving = stage.start(&stage.shell(&pod, &server("0.0.0.0", 7001))).await;
        read_until(&mut serving.stdout, "ready").await;
        let other = stage.sandbox().await;
        let ended = stage.finish(&stage.shell(&other, &client(pod.ip, 7001))).await;
        assert_eq!(ended.out, format!("hello {}\n", other.ip), "{}", ended.err);
        assert_eq!(
            greeting(stage.runtime.dial(&pod.id, 7001).await?).await,
            "hello 127.0.0.1"
        );
        stage.runtime.remove_sandbox(&pod.id).await?;
        Ok(stage.runtime.remove_sandbox(&other.id).await?)
    })
}

fn services(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let address: SocketAddr = "10.96.7.8:80".parse()?;
        let listener = stage.runtime.listen_node(address).await?;
        assert!(matches!(
            stage.runtime.listen_node(address).await,
            Err(RuntimeError::AddressInUse(_))
        ));
        let datagrams = stage.runtime.bind_node("10.96.7.8:53".parse()?).await?;
        let pod = stage.sandbox().await;
        let answer = async {
            let (mut stream, peer) = listener.accept().await.expect("accept");
            stream.write_all(b"proxied").await.expect("answer");
            let mut buffer = [0; 10];
            let (length, from) = datagrams.recv_from(&mut buffer).await.expect("receive");
            datagrams.send_to(&buffer[..length], from).await.expect("send back");
            peer.ip()
        };
        let script = format!(
            "{}; exec python3 -c 'import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.settimeout(5)\n\
             s.sendto(b\"echo\",(\"10.96.7.8\",53))\nprint(s.recvfrom(10))'",
            client(address.ip(), 80).replace("exec ", "")
        );
        let spec = stage.shell(&pod, &script);
        let (peer, ended) = tokio::join!(answer, stage.finish(&spec));
        assert_eq!(ended.out, "proxied\n(b'echo', ('10.96.7.8', 53))\n", "{}", ended.err);
        assert_eq!(peer, pod.ip);
        // Nobody listens there: refused at once, not timed out.
        let refused = stage
            .finish(&stage.shell(&pod, &client("10.96.9.9".parse()?, 80)))
            .await;
        assert!(refused.err.contains("refused"), "{}", refused.err);
        Ok(stage.runtime.remove_sandbox(&pod.id).await?)
    })
}

fn idempotent(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let first = stage.sandbox().await;
        let again = stage.sandbox_with(|spec| spec.id = first.id.clone()).await;
        assert_eq!(first, again);
        Ok(stage.runtime.remove_sandbox(&first.id).await?)
    })
}

fn listens(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        assert_eq!(stage.runtime.mode(), Mode::Processes);
        let listener = stage.runtime.listen_node((stage.runtime.node_ip(), 0).into()).await?;
        let address = listener.local_addr()?;
        assert!(matches!(
            stage.runtime.listen_node(address).await,
            Err(RuntimeError::AddressInUse(_))
        ));
        let (accepted, dialled) = tokio::join!(listener.accept(), stage.runtime.dial_node(address));
        accepted?.0.write_all(b"hi").await?;
        assert_eq!(greeting(dialled?).await, "hi");
        Ok(())
    })
}
