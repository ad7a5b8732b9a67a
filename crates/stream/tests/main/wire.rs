//! WebSocket clients of all ages, message by message.

use futures::{SinkExt, StreamExt};
use http::header;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::node::{no_such_program, pattern};
use crate::server::Server;

async fn connect(server: &Server, path: &str, protocol: &'static str) -> Result<WebSocketStream<TcpStream>, Error> {
    let url = format!("ws://{}/api/v1/namespaces/default/pods/web/{path}", server.address);
    let mut request = url.into_client_request()?;
    if !protocol.is_empty() {
        request
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol.parse()?);
    }
    let stream = TcpStream::connect(server.address).await?;
    let (socket, response) = tokio_tungstenite::client_async(request, stream).await?;
    let chosen = response
        .headers()
        .get(header::SEC_WEBSOCKET_PROTOCOL)
        .map_or("", |name| name.to_str().unwrap());
    assert_eq!(chosen, protocol);
    Ok(socket)
}

/// All messages until the server closes.
async fn collect(mut socket: WebSocketStream<TcpStream>) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(message) = socket.next().await {
        match message.unwrap() {
            Message::Close(frame) => assert_eq!(u16::from(frame.unwrap().code), 1000),
            message => messages.push(message),
        }
    }
    messages
}

#[tokio::test]
async fn version_4_greets_and_ends_with_a_status() {
    let server = Server::start().await;
    let socket = connect(&server, "exec?command=echo&command=hi&stdout=1", "v4.channel.k8s.io")
        .await
        .unwrap();
    let status = b"\x03{\"metadata\":{},\"status\":\"Success\"}".to_vec();
    let expected = [vec![1], b"\x01hi\n".to_vec(), status].map(Message::binary);
    assert_eq!(collect(socket).await, expected);
}

#[tokio::test]
async fn base64_is_text() {
    let server = Server::start().await;
    let mut socket = connect(
        &server,
        "exec?command=head&command=-c2&stdin=1&stdout=1",
        "base64.channel.k8s.io",
    )
    .await
    .unwrap();
    socket.send(Message::text("0aGk=")).await.unwrap();
    assert_eq!(collect(socket).await, ["1", "1aGk="].map(Message::text));
}

#[tokio::test]
async fn clients_older_than_version_4_get_errors_as_plain_text() {
    let server = Server::start().await;
    for protocol in ["", "channel.k8s.io"] {
        let failing = connect(&server, "exec?command=false&stderr=true", protocol)
            .await
            .unwrap();
        let text = "\x03command terminated with non-zero exit code: error executing command [false], exit code 1";
        assert_eq!(
            collect(failing).await,
            [Message::binary(vec![2]), Message::binary(text)]
        );
        let missing = connect(&server, "exec?command=nope&stdout=true", protocol)
            .await
            .unwrap();
        let text = format!("\x03Internal error occurred: {}", no_such_program("nope"));
        assert_eq!(
            collect(missing).await,
            [Message::binary(vec![1]), Message::binary(text)]
        );
    }
}

#[tokio::test]
async fn version_5_can_end_its_input_after_one_huge_message() {
    let server = Server::start().await;
    let socket = connect(&server, "exec?command=cat&stdin=true&stdout=true", "v5.channel.k8s.io")
        .await
        .unwrap();
    let input = pattern(5_000_000, 4);
    let (mut sink, stream) = socket.split();
    let sent = [&[0], input.as_slice()].concat();
    let feed = async {
        sink.send(Message::binary(sent)).await.unwrap();
        sink.send(Message::binary(vec![255, 0])).await.unwrap();
    };
    let read = async {
        let mut output = Vec::new();
        let mut stream = std::pin::pin!(stream);
        while let Some(Ok(Message::Binary(message))) = stream.next().await {
            match message[0] {
                1 => output.extend_from_slice(&message[1..]),
                channel => assert_eq!(
                    (channel, &message[1..]),
                    (3, &b"{\"metadata\":{},\"status\":\"Success\"}"[..])
                ),
            }
        }
        output
    };
    let ((), output) = tokio::join!(feed, read);
    assert!(output == input, "got {} bytes", output.len());
}

#[tokio::test]
async fn a_request_that_cannot_be_served_is_a_status() {
    let server = Server::start().await;
    let refuse = async |path: &str, protocol| match connect(&server, path, protocol).await {
        Err(Error::Http(response)) => {
            let status: serde_json::Value = serde_json::from_slice(response.body().as_ref().unwrap()).unwrap();
            assert_eq!(status["kind"], "Status");
            assert_eq!(status["code"], response.status().as_u16());
            (
                response.status().as_u16(),
                status["message"].as_str().unwrap().to_owned(),
            )
        }
        other => panic!("{path}: {other:?}"),
    };
    let (code, message) = refuse("exec?command=true", "v4.channel.k8s.io").await;
    assert_eq!(
        (code, message.as_str()),
        (400, "you must specify at least 1 of stdin, stdout, stderr")
    );
    let (code, message) = refuse("exec?command=true&stdout=1&container=absent", "v4.channel.k8s.io").await;
    assert_eq!((code, message.as_str()), (404, "container not found (\"absent\")"));
    let (code, _) = refuse("exec?command=true&stdout=1", "v9.channel.k8s.io").await;
    assert_eq!(code, 403);
    let (code, message) = refuse("portforward", "v4.channel.k8s.io").await;
    assert_eq!((code, message.as_str()), (400, "query parameter \"ports\" is required"));
}

#[tokio::test]
async fn the_end_of_a_connection_without_goodbye_lets_go_of_the_process() {
    let server = Server::start().await;
    let mut socket = connect(&server, "exec?command=hold&stdin=true&stdout=true", "v4.channel.k8s.io")
        .await
        .unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::binary(vec![1]));
    drop(socket);
    server.node.dropped.cancelled().await;
}
