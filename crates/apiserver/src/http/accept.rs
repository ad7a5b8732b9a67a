//! Content negotiation: which of the forms of a response the client prefers.

use http::{HeaderMap, header};
use knarr_resource::{ResourceInfo, Status};

use super::query::Query;
use crate::refusal;

/// Kubernetes' protobuf.
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What the response is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    /// Indented JSON, for people.
    Pretty,
    Yaml,
    /// `application/vnd.kubernetes.protobuf`, for kinds that have it.
    Protobuf,
}

/// What is written of the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// All of them.
    Object,
    /// A `meta.k8s.io` Table in this version.
    Table(&'static str),
    /// Their metadata.
    Metadata(&'static str),
}

/// The form of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub encoding: Encoding,
    pub shape: Shape,
    /// The shape is one of lists only, or of single objects only.
    pub of_list: Option<bool>,
}

impl Form {
    /// Refuses a shape that the answer does not have.
    pub(crate) fn fits(self, resource: &ResourceInfo, list: bool) -> Result<Self, Status> {
        let (wanted, really) = match self.of_list {
            Some(true) if !list => ("PartialObjectMetadataList", "not a list"),
            Some(false) if list => ("PartialObjectMetadata", "a list"),
            _ => return Ok(self),
        };
        // As Go prints the type.
        let package = resource
            .group
            .split('.')
            .next()
            .filter(|group| !group.is_empty())
            .unwrap_or("core");
        let kind = if list {
            resource.list_kind.clone()
        } else {
            resource.kind.clone()
        };
        Err(refusal::not_acceptable_as(&format!(
            "you requested {wanted}, but the requested object is {really} (*{package}.{kind})"
        )))
    }
}

/// One clause of an Accept header.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Clause<'a> {
    pub media: &'a str,
    pub params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Clause<'a> {
    pub(crate) fn param(&self, name: &str) -> Option<&'a str> {
        self.params
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    }

    fn is_json(&self) -> bool {
        matches!(self.media, "application/json" | "application/*" | "*/*")
    }
}

/// The clauses, best first: by quality, and in the order sent where that is equal.
pub(crate) fn clauses(headers: &HeaderMap) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().filter(|media| !media.is_empty())?;
            let params: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
            let quality = params
                .iter()
                .find(|(key, _)| *key == "q")
                .and_then(|(_, value)| value.parse().ok())
                .unwrap_or(1.0);
            Some(Clause { media, params, quality })
        })
        .filter(|clause| clause.quality > 0.0)
        .collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses
}

/// What an answer can be besides an object in JSON or YAML.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offer {
    pub protobuf: bool,
    pub tables: bool,
}

/// The best form that this server can write.
pub(crate) fn negotiate(headers: &HeaderMap, query: &Query, offer: Offer) -> Result<Form, Status> {
    let json = if pretty(headers, query) {
        Encoding::Pretty
    } else {
        Encoding::Json
    };
    if !headers.contains_key(header::ACCEPT) {
        return Ok(Form {
            encoding: json,
            shape: Shape::Object,
            of_list: None,
        });
    }
    for clause in clauses(headers) {
        let encoding = match clause.media {
            _ if clause.is_json() => json,
            "application/yaml" => Encoding::Yaml,
            PROTOBUF if offer.protobuf => Encoding::Protobuf,
            _ => continue,
        };
        let version = match (clause.param("g"), clause.param("v")) {
            (None | Some("meta.k8s.io"), Some("v1") | None) => "v1",
            (None | Some("meta.k8s.io"), Some("v1beta1")) => "v1beta1",
            _ => continue,
        };
        let (shape, of_list) = match clause.param("as") {
            None => (Shape::Object, None),
            // Nobody writes tables in protobuf, upstream neither.
            Some("Table") if offer.tables && encoding != Encoding::Protobuf => (Shape::Table(version), None),
            Some("PartialObjectMetadata") => (Shape::Metadata(version), Some(false)),
            Some("PartialObjectMetadataList") => (Shape::Metadata(version), Some(true)),
            Some(_) => continue,
        };
        return Ok(Form {
            encoding,
            shape,
            of_list,
        });
    }
    Err(refusal::not_acceptable(offer.protobuf))
}

/// What a Status is written in: whatever form was asked for, a refusal takes none but its own.
pub(crate) fn for_status(headers: &HeaderMap, query: &Query) -> Encoding {
    let json = match pretty(headers, query) {
        true => Encoding::Pretty,
        false => Encoding::Json,
    };
    clauses(headers)
        .iter()
        .filter(|clause| ["as", "g", "v"].iter().all(|param| clause.param(param).is_none()))
        .find_map(|clause| match clause.media {
            _ if clause.is_json() => Some(json),
            "application/yaml" => Some(Encoding::Yaml),
            PROTOBUF => Some(Encoding::Protobuf),
            _ => None,
        })
        .unwrap_or(json)
}

/// Whether a person reads along: by request, or by the look of the program.
fn pretty(headers: &HeaderMap, query: &Query) -> bool {
    if query.get("pretty").is_some() {
        return query.flag("pretty");
    }
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"]
        .iter()
        .any(|program| agent.starts_with(program))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const ALL: Offer = Offer {
        protobuf: true,
        tables: true,
    };

    fn form(accept: &str) -> Result<Form, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        negotiate(&headers, &Query::default(), ALL)
    }

    fn shape(accept: &str) -> Shape {
        form(accept).unwrap().shape
    }

    #[test]
    fn the_first_form_that_can_be_served_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(shape(kubectl), Shape::Table("v1"));
        assert_eq!(
            shape("application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json"),
            Shape::Table("v1beta1")
        );
        assert_eq!(
            shape("application/json;as=Table;v=v9;g=meta.k8s.io, application/json"),
            Shape::Object
        );
        assert_eq!(
            shape(
                "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
            ),
            Shape::Metadata("v1")
        );
        assert_eq!(form("application/yaml").unwrap().encoding, Encoding::Yaml);
        assert_eq!(form("*/*").unwrap().encoding, Encoding::Json);
    }

    #[test]
    fn quality_goes_before_order_and_zero_means_never() {
        assert_eq!(
            form("application/json;q=0.5, application/yaml").unwrap().encoding,
            Encoding::Yaml
        );
        assert_eq!(
            form("application/yaml;q=0, application/json").unwrap().encoding,
            Encoding::Json
        );
    }

    #[test]
    fn protobuf_is_for_kinds_that_have_it() {
        assert_eq!(form(PROTOBUF).unwrap().encoding, Encoding::Protobuf);
        assert_eq!(form("text/html").unwrap_err().code, 406);
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(PROTOBUF));
        let refused = negotiate(&headers, &Query::default(), Offer::default()).unwrap_err();
        let message = "only the following media types are accepted: application/json, application/yaml";
        assert_eq!((refused.code, refused.message.as_str()), (406, message));
    }

    #[test]
    fn people_get_indented_json() {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, "curl/8".parse().unwrap());
        let encoding = |query: &str| negotiate(&headers, &Query::parse(query), ALL).unwrap().encoding;
        assert_eq!(encoding(""), Encoding::Pretty);
        assert_eq!(encoding("pretty=false"), Encoding::Json);
    }
}
