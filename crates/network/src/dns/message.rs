//! From the bytes of a question to those of its answer.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use super::answer::{self, Facts};
use crate::view::View;

/// How long answers may be remembered, in seconds. Short, as pods come and go.
const TTL: u32 = 30;
/// What fits into a datagram that nobody has to take apart.
const DATAGRAM: u16 = 1232;
/// Names that may follow from each other.
const ALIASES: usize = 8;
/// Size of a message's header, without which there is nobody to answer.
const HEADER: usize = 12;

/// Answers one message. `None` when it is none that can be answered.
pub(super) fn respond(view: &View, domain: &str, bytes: &[u8], datagram: bool) -> Option<Vec<u8>> {
    let request = match Message::from_vec(bytes) {
        Ok(request) => request,
        Err(_) if bytes.len() >= HEADER && bytes[2] & 0x80 == 0 => {
            let id = u16::from_be_bytes([bytes[0], bytes[1]]);
            return encode(&Message::error_msg(id, OpCode::Query, ResponseCode::FormErr), u16::MAX);
        }
        Err(_) => return None,
    };
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let limit = match datagram {
        true => request.max_payload().min(DATAGRAM),
        false => u16::MAX,
    };
    encode(&answer(view, domain, &request), limit)
}

fn encode(message: &Message, limit: u16) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut bytes);
    // What does not fit is left out, and the answer marked as truncated.
    encoder.set_max_size(limit);
    message.emit(&mut encoder).ok()?;
    Some(bytes)
}

pub(super) fn answer(view: &View, domain: &str, request: &Message) -> Message {
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata = Metadata::response_from_request(&request.metadata);
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(DATAGRAM);
        response.set_edns(edns);
    }
    let refuse = |mut response: Message, code: ResponseCode| {
        response.metadata.response_code = code;
        response
    };
    if request.metadata.op_code != OpCode::Query {
        return refuse(response, ResponseCode::NotImp);
    }
    let [query] = request.queries.as_slice() else {
        return refuse(response, ResponseCode::FormErr);
    };
    response.add_query(query.clone());
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return refuse(response, ResponseCode::BADVERS);
    }
    if !matches!(query.query_class(), DNSClass::IN | DNSClass::ANY) {
        return refuse(response, ResponseCode::Refused);
    }
    let mut answering = Answering {
        view,
        domain,
        kind: query.query_type(),
        response,
    };
    answering.follow(query.name().clone());
    answering.response
}

struct Answering<'a> {
    view: &'a View,
    domain: &'a str,
    kind: RecordType,
    response: Message,
}

impl Answering<'_> {
    /// Answers for a name, and for the names it is another name for.
    fn follow(&mut self, mut name: Name) {
        for _ in 0..ALIASES {
            let Some(facts) = self.look_up(&name) else { return };
            let Some(alias) = facts.alias.clone() else {
                self.add(&name, facts);
                return;
            };
            let Ok(target) = Name::from_ascii(format!("{alias}.")) else {
                self.response.metadata.response_code = ResponseCode::ServFail;
                return;
            };
            self.response.metadata.authoritative = true;
            let record = Record::from_rdata(name, TTL, RData::CNAME(CNAME(target.clone())));
            self.response.add_answer(record);
            if self.kind == RecordType::CNAME {
                return;
            }
            name = target;
        }
    }

    /// What a name stands for. If there is no such name, says so.
    fn look_up(&mut self, name: &Name) -> Option<Facts> {
        let labels = labels(name);
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let domain: Vec<&str> = self.domain.split('.').collect();
        let facts = match (labels.as_slice(), labels.strip_suffix(domain.as_slice())) {
            (_, Some(below)) => answer::resolve(self.view, below),
            ([.., "in-addr" | "ip6", "arpa"], None) => {
                self.name_address(name);
                return None;
            }
            // What an alias leads to is for others to answer; here, that is all there is to say.
            _ if !self.response.answers.is_empty() => return None,
            // A bare word is the last thing that programs try. Nobody else would know it either.
            ([_], None) => {
                self.response.metadata.response_code = ResponseCode::NXDomain;
                return None;
            }
            _ => {
                self.response.metadata.response_code = ResponseCode::Refused;
                return None;
            }
        };
        self.response.metadata.authoritative = true;
        if facts.is_none() {
            self.response.metadata.response_code = ResponseCode::NXDomain;
            self.add_authority();
        }
        facts
    }

    fn add(&mut self, name: &Name, mut facts: Facts) {
        use rand::seq::SliceRandom;
        // Programs take the first address: a different one each time spreads them.
        facts.addresses.shuffle(&mut rand::rng());
        let asked = |kind| self.kind == kind || self.kind == RecordType::ANY;
        let mut records = Vec::new();
        records.extend(
            facts
                .addresses
                .iter()
                .map(|ip| address(*ip))
                .filter(|data| asked(data.record_type())),
        );
        if asked(RecordType::SRV) {
            let weight = 100 / u16::try_from(facts.servers.len()).unwrap_or(u16::MAX).max(1);
            let mut known = Vec::new();
            for server in &facts.servers {
                let Some(target) = self.absolute(&server.target) else {
                    continue;
                };
                let data = RData::SRV(SRV::new(0, weight, server.port, target.clone()));
                if !records.contains(&data) {
                    records.push(data);
                }
                if !known.contains(&(&server.target, server.address)) {
                    known.push((&server.target, server.address));
                    self.response
                        .add_additional(Record::from_rdata(target, TTL, address(server.address)));
                }
            }
        }
        if let Some(text) = facts.text.filter(|_| asked(RecordType::TXT)) {
            records.push(RData::TXT(TXT::new(vec![text.to_string()])));
        }
        if facts.is_apex {
            records.extend(self.authority().map(RData::SOA).filter(|_| asked(RecordType::SOA)));
            let server = self
                .absolute("kube-dns.kube-system.svc")
                .map(|name| RData::NS(NS(name)));
            records.extend(server.filter(|_| asked(RecordType::NS)));
        }
        if records.is_empty() {
            self.add_authority();
        }
        let records = records
            .into_iter()
            .map(|data| Record::from_rdata(name.clone(), TTL, data));
        self.response.add_answers(records);
    }

    /// Which names an address has.
    fn name_address(&mut self, name: &Name) {
        self.response.metadata.authoritative = true;
        let net = name.parse_arpa_name().ok();
        // A shorter name stands for a network, which has no name.
        let whole = net.filter(|net| net.prefix_len() == net.max_prefix_len());
        let names = whole.map_or_else(Vec::new, |net| answer::reverse(self.view, net.addr()));
        if names.is_empty() {
            self.response.metadata.response_code = ResponseCode::NXDomain;
        }
        let names = names.iter().filter_map(|name| self.absolute(name));
        if matches!(self.kind, RecordType::PTR | RecordType::ANY) {
            let records: Vec<Record> = names
                .map(|target| Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(target))))
                .collect();
            self.response.add_answers(records);
        }
    }

    fn absolute(&self, name: &str) -> Option<Name> {
        Name::from_ascii(format!("{name}.{}.", self.domain)).ok()
    }

    fn authority(&self) -> Option<SOA> {
        let (server, person) = (self.absolute("ns.dns")?, self.absolute("hostmaster")?);
        Some(SOA::new(server, person, self.view.version, 7200, 1800, 86_400, TTL))
    }

    /// Tells how long a "no" may be remembered.
    fn add_authority(&mut self) {
        let name = Name::from_ascii(format!("{}.", self.domain)).ok();
        if let Some((name, soa)) = name.zip(self.authority()) {
            self.response
                .add_authority(Record::from_rdata(name, TTL, RData::SOA(soa)));
        }
    }
}

fn labels(name: &Name) -> Vec<String> {
    name.iter()
        .map(|label| String::from_utf8_lossy(label).to_ascii_lowercase())
        .collect()
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}
