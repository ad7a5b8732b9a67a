use std::fmt::Write;

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Builds messages as a Go client would.
#[derive(Default, Clone)]
struct Message(Vec<u8>);

impl Message {
    fn raw_varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn int(mut self, tag: u64, value: i64) -> Self {
        self.raw_varint(tag << 3);
        self.raw_varint(value as u64);
        self
    }

    fn bytes(mut self, tag: u64, value: &[u8]) -> Self {
        self.raw_varint(tag << 3 | 2);
        self.raw_varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn text(self, tag: u64, value: &str) -> Self {
        self.bytes(tag, value.as_bytes())
    }

    fn message(self, tag: u64, value: Message) -> Self {
        self.bytes(tag, &value.0)
    }

    fn entry(self, tag: u64, key: &str, value: Message) -> Self {
        self.message(tag, msg().text(1, key).message(2, value))
    }

    fn request(self, api_version: &str, kind: &str) -> Vec<u8> {
        let meta = msg().text(1, api_version).text(2, kind);
        [
            b"k8s\0",
            &*msg().message(1, meta).message(2, self).text(3, "").text(4, "").0,
        ]
        .concat()
    }
}

fn msg() -> Message {
    Message::default()
}

/// metadata as client-go sends it: every plain value is there, zero or not.
fn metadata(name: &str) -> Message {
    let labels = msg().text(1, "app").text(2, name);
    msg()
        .text(1, name)
        .text(2, "")
        .text(3, "")
        .text(4, "")
        .text(5, "")
        .text(6, "")
        .int(7, 0)
        .message(8, msg())
        .message(11, labels)
}

#[test]
fn a_deployment_from_kubectl_create_becomes_the_json_that_go_would_have_sent() {
    let container = msg()
        .text(1, "web")
        .text(2, "nginx:1.27")
        .text(5, "")
        .message(6, msg().text(1, "").int(2, 0).int(3, 80).text(4, "TCP").text(5, ""))
        .message(8, msg().entry(1, "cpu", msg().text(1, "100m")))
        .message(
            10,
            msg()
                .message(
                    1,
                    msg().message(
                        2,
                        msg()
                            .text(1, "/healthy")
                            .message(2, msg().int(1, 1).int(2, 0).text(3, "http")),
                    ),
                )
                .int(2, 0)
                .int(4, 5),
        )
        .text(13, "")
        .text(14, "")
        .int(16, 0)
        .int(18, 1);
    let volume = msg().text(1, "cache").message(2, msg().message(2, msg().text(1, "")));
    let pod = msg()
        .message(1, volume)
        .message(2, container)
        .text(3, "")
        .int(11, 0)
        .int(4, 30);
    let template = msg().message(1, msg().message(8, msg())).message(2, pod);
    let selector = msg().message(1, msg().text(1, "app").text(2, "web"));
    let strategy = msg().text(1, "");
    let spec = msg()
        .int(1, 0)
        .message(2, selector)
        .message(3, template)
        .message(4, strategy)
        .int(5, 0)
        .int(7, 0);
    let status = msg().int(1, 0).int(2, 0).int(3, 0).int(4, 0).int(5, 0);
    let body = msg()
        .message(1, metadata("web"))
        .message(2, spec)
        .message(3, status)
        .request("apps/v1", "Deployment");
    assert_eq!(
        decode_request(&body),
        Ok(json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {},
                    "spec": {
                        "volumes": [{"name": "cache", "emptyDir": {}}],
                        "containers": [{
                            "name": "web",
                            "image": "nginx:1.27",
                            "ports": [{"containerPort": 80, "protocol": "TCP"}],
                            "resources": {"limits": {"cpu": "100m"}},
                            "livenessProbe": {"httpGet": {"path": "/healthy", "port": "http"}, "periodSeconds": 5},
                            "tty": true,
                        }],
                        "terminationGracePeriodSeconds": 30,
                    },
                },
                "strategy": {},
            },
            "status": {},
        }))
    );
}

/// Bodies that kubectl 1.33 sent: `create deployment --replicas=0 --port=80`, `create ingress` and `create pdb`.
#[test]
fn real_bodies_of_kubectl_decode_to_what_its_dry_run_prints() {
    let deployment = decode_request(include_bytes!("fixtures/deployment.pb"));
    assert_eq!(
        deployment,
        Ok(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "nginx", "image": "nginx", "ports": [{"containerPort": 80}], "resources": {}}]},
                },
                "strategy": {},
            },
            "status": {},
        }))
    );
    let ingress = decode_request(include_bytes!("fixtures/ingress.pb")).map(|ingress| ingress["spec"].clone());
    let path = json!({"path": "/bar", "pathType": "Exact", "backend": {"service": {"name": "svc1", "port": {"number": 8080}}}});
    assert_eq!(
        ingress,
        Ok(json!({
            "tls": [{"hosts": ["foo.com"], "secretName": "my-cert"}],
            "rules": [{"host": "foo.com", "http": {"paths": [path]}}],
        }))
    );
    let budget = decode_request(include_bytes!("fixtures/disruption-budget.pb")).map(|budget| budget["spec"].clone());
    assert_eq!(
        budget,
        Ok(json!({"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}}))
    );
}

#[test]
fn the_special_types_look_as_in_json() {
    let secret = msg()
        .message(1, metadata("s"))
        .message(2, msg().text(1, "key").bytes(2, &[0xff, 0, 1]))
        .message(2, msg().text(1, "none"));
    let secret = decode_request(&secret.text(3, "Opaque").int(5, 0).request("v1", "Secret"));
    assert_eq!(
        secret.map(|s| json!([s["data"], s["type"], s["immutable"]])),
        Ok(json!([{"key": "/wAB", "none": ""}, "Opaque", false]))
    );

    let time = msg().int(1, 1_700_000_000).int(2, 123_456_789);
    let lease = msg().message(
        2,
        msg()
            .text(1, "n1")
            .int(2, 40)
            .message(3, time.clone())
            .message(4, msg()),
    );
    let lease = decode_request(&lease.request("coordination.k8s.io/v1", "Lease"));
    assert_eq!(
        lease.map(|l| l["spec"].clone()),
        Ok(json!({"holderIdentity": "n1", "leaseDurationSeconds": 40, "acquireTime": "2023-11-14T22:13:20.123456Z"}))
    );
    let event = decode_request(&msg().message(6, time).int(8, 3).request("v1", "Event"));
    assert_eq!(
        event.map(|e| json!([e["firstTimestamp"], e["count"]])),
        Ok(json!(["2023-11-14T22:13:20Z", 3]))
    );

    let port = msg()
        .text(2, "TCP")
        .int(3, 80)
        .message(4, msg().int(1, 0).int(2, 8080))
        .int(5, 0);
    let service = decode_request(&msg().message(2, msg().message(1, port)).request("v1", "Service"));
    assert_eq!(
        service.map(|s| s["spec"]["ports"].clone()),
        Ok(json!([{"protocol": "TCP", "port": 80, "targetPort": 8080}]))
    );

    let claim = decode_request(
        &msg()
            .message(2, msg().text(5, ""))
            .request("v1", "PersistentVolumeClaim"),
    );
    assert_eq!(
        claim.map(|c| c["spec"].clone()),
        Ok(json!({"storageClassName": ""})),
        "an empty class is not no class"
    );

    let extra = msg().entry(5, "scopes", msg().text(1, "a").text(1, "b"));
    let review = decode_request(
        &msg()
            .message(2, extra)
            .request("authorization.k8s.io/v1", "SubjectAccessReview"),
    );
    assert_eq!(
        review.map(|r| r["spec"]["extra"].clone()),
        Ok(json!({"scopes": ["a", "b"]}))
    );
}

#[test]
fn a_body_of_drain_is_an_eviction_with_delete_options() {
    let body = msg()
        .message(1, metadata("p"))
        .message(2, msg().int(1, 0))
        .request("policy/v1", "Eviction");
    let eviction = decode_request(&body).map(|e| json!([e["kind"], e["metadata"]["name"], e["deleteOptions"]]));
    assert_eq!(eviction, Ok(json!(["Eviction", "p", {"gracePeriodSeconds": 0}])));
    let options = decode_request(&msg().text(4, "Background").request("apps/v1", "DeleteOptions"));
    assert_eq!(options.map(|o| o["propagationPolicy"].clone()), Ok(json!("Background")));
}

#[test]
fn bad_bodies_are_refused_with_a_reason() {
    let deep = (0..2000).fold(msg(), |inner, _| msg().message(27, inner));
    let schema = msg().message(2, msg().message(7, msg().message(4, msg().message(1, deep))));
    for (body, error) in [
        (
            b"{}".to_vec(),
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
        ),
        (msg().request("v1", ""), "Object 'Kind' is missing in protobuf envelope"),
        (
            msg().request("v1", "Poddle"),
            "no kind \"Poddle\" is registered for version \"v1\"",
        ),
        (b"k8s\0\x0a\xff".to_vec(), "unexpected EOF"),
        (b"k8s\0\x0a\xff\xff\xff\xff\x0f".to_vec(), "unexpected EOF"),
        (b"k8s\0\x00\x00".to_vec(), "proto: integer overflow"),
        (
            msg().int(1, 5).request("v1", "Pod"),
            "proto: wrong wireType = 0 for field metadata",
        ),
        (
            msg().message(1, msg().bytes(1, &[0xff])).request("v1", "Pod"),
            "proto: field name contains invalid UTF-8",
        ),
        (
            schema.request("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
            "proto: message is nested too deeply",
        ),
    ] {
        assert_eq!(decode_request(&body).map_err(|e| e.to_string()), Err(error.to_owned()));
    }
}

#[test]
fn an_unknown_number_is_skipped() {
    let body = msg()
        .message(1, metadata("p").text(900, "x").int(901, 1))
        .request("v1", "ConfigMap");
    assert_eq!(
        decode_request(&body).map(|c| c["metadata"]["name"].clone()),
        Ok(json!("p"))
    );
}

proptest! {
    #[test]
    fn no_bytes_can_make_the_decoder_panic(noise in prop::collection::vec(any::<u8>(), 0..200), kind in 0usize..4, cut in 0usize..400) {
        let (api_version, kind) = [("v1", "Pod"), ("apps/v1", "Deployment"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("v1", "Event")][kind];
        let _ = decode_request(&noise);
        let _ = decode_request(&msg().bytes(1, &noise).bytes(2, &noise).bytes(3, &noise).request(api_version, kind));
        let mut body = msg().message(1, metadata("x")).message(2, msg().message(2, msg().text(1, "c").bytes(6, &noise))).request(api_version, kind);
        body.truncate(cut);
        let _ = decode_request(&body);
    }

    #[test]
    fn what_it_decodes_has_only_fields_that_the_table_knows(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(pod) = decode_request(&msg().bytes(2, &noise).request("v1", "Pod")) {
            let unknown = crate::strict::unknown_fields(&lookup("", "v1", "Pod").unwrap(), &pod);
            let mut shown = String::new();
            let _ = write!(shown, "{pod}");
            prop_assert!(unknown.is_empty(), "{unknown:?} in {shown}");
        }
    }
}

/// Makes values of any type, from a number that says how.
struct Maker(u64);

impl Maker {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    /// Every field that travels, or none of those that nest too deeply.
    fn object(&mut self, type_: &Type, wire: &Wire, depth: usize, into: &mut Map<String, Value>) {
        for slot in wire.0.values() {
            match slot {
                Slot::Embedded(inner) => self.object(type_, inner, depth, into),
                Slot::Field(index) => {
                    let field = &type_.fields()[*index];
                    if self.next(3) > 0
                        && let Some(value) = self.value(&field.kind, depth)
                    {
                        into.insert(field.json.to_string(), value);
                    }
                }
            }
        }
    }

    fn struct_(&mut self, schema: &crate::table::Schema, depth: usize) -> Option<Value> {
        let mut map = Map::new();
        if depth > 4 {
            return None;
        }
        self.object(schema.get(), &schema.get().wire, depth + 1, &mut map);
        Some(map.into())
    }

    fn value(&mut self, kind: &Kind, depth: usize) -> Option<Value> {
        let many = self.next(3) + 1;
        Some(match kind {
            Kind::String => format!("t{}\u{e9}", self.next(100)).into(),
            Kind::Int32 => (self.next(1 << 31) as i64 - (1 << 30)).max(1).into(),
            Kind::Int64 => (1 + self.next(1 << 31) as i64 * 4_000_000).into(),
            Kind::Float => (self.next(1000) as f64 / 8.0).into(),
            Kind::Bool => true.into(),
            Kind::Bytes => ["aGk=", "AAEC/w=="][self.next(2) as usize].into(),
            Kind::Quantity => ["1500m", "12Gi"][self.next(2) as usize].into(),
            Kind::Time => "2026-01-02T03:04:05Z".into(),
            Kind::MicroTime => "2026-01-02T03:04:05.000006Z".into(),
            Kind::IntOrString if many == 1 => "http".into(),
            Kind::IntOrString => (self.next(500) as i64 - 250).into(),
            Kind::Any => json!({"a": [1, null, {"b": "c"}]}),
            Kind::Strings => json!(["a", "b"]),
            Kind::SchemaOrBool if many == 1 => false.into(),
            Kind::SchemaOrArray if many == 1 => json!([{"type": "string"}, {}]),
            Kind::SchemaOrStrings if many == 1 => json!(["x"]),
            Kind::SchemaOrArray | Kind::SchemaOrBool | Kind::SchemaOrStrings => {
                self.struct_(Kind::schema_props(), depth)?
            }
            Kind::Struct(schema) => self.struct_(schema, depth)?,
            // Of custom resources, which have no form in protobuf.
            Kind::Owned(..) => return None,
            Kind::List(of) => {
                let items: Option<Vec<Value>> = (0..many).map(|_| self.value(of, depth)).collect();
                items?.into()
            }
            Kind::Map(of) => {
                let mut map = Map::new();
                for i in 0..many {
                    map.insert(format!("k{i}"), self.value(of, depth)?);
                }
                map.into()
            }
        })
    }
}

#[test]
fn every_kind_comes_back_from_protobuf_as_it_went() {
    let mut maker = Maker(1);
    let mut kinds = 0;
    for type_ in crate::table::all() {
        let Some((group, version, kind)) = type_.kind else {
            continue;
        };
        if type_.wire.0.is_empty() {
            continue;
        }
        kinds += 1;
        let api_version = [group, version].join("/").trim_start_matches('/').to_owned();
        for _ in 0..5 {
            let mut object = Map::new();
            object.insert("apiVersion".into(), api_version.clone().into());
            object.insert("kind".into(), kind.into());
            maker.object(type_, &type_.wire, 0, &mut object);
            let object = Value::Object(object);
            let body = encode(&object).unwrap_or_else(|| panic!("{kind}"));
            assert_eq!(decode_request(&body).as_ref(), Ok(&object), "{kind}");
        }
    }
    assert!(kinds > 60, "{kinds}");
}

#[test]
fn lists_metadata_and_events_have_their_envelopes() {
    let list = json!({
        "kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"},
        "items": [{"metadata": {"name": "a"}, "data": {"k": ""}}],
    });
    let item = msg()
        .message(1, msg().text(1, "a"))
        .message(2, msg().text(1, "k").text(2, ""));
    let raw = msg().message(1, msg().text(2, "7")).message(2, item);
    assert_eq!(encode(&list).unwrap(), raw.request("v1", "ConfigMapList"));
    let partial = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}});
    let raw = msg().message(1, msg().text(1, "a"));
    let object = raw.request("meta.k8s.io/v1", "PartialObjectMetadata");
    assert_eq!(encode(&partial).unwrap(), object);
    let event = msg().text(1, "ADDED").message(2, msg().bytes(1, &object)).0;
    let frame = encode_event("ADDED", &partial).unwrap();
    assert_eq!(frame[..4], (event.len() as u32).to_be_bytes());
    assert_eq!(frame[4..], event);
    assert_eq!(encode(&json!({"kind": "Thing", "apiVersion": "example.com/v1"})), None);
    assert_eq!(encode(&json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1"})), None);
}

#[test]
fn an_item_without_a_value_is_still_an_item() {
    let object = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "annotations": {"a": ""}},
        "spec": {"containers": [{"name": "c", "args": ["", "x"], "env": [{}]}], "terminationGracePeriodSeconds": 0},
    });
    assert_eq!(decode_request(&encode(&object).unwrap()), Ok(object));
}
