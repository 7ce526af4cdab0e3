//! What the fake answers to each call.

use super::{
    Shared,
    cluster::{Cluster, Partition},
    connection::Session,
    log::error,
};
use crate::wire::{Head, now_ms};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsRequest, ApiVersionsResponse, BrokerId, InitProducerIdRequest,
        InitProducerIdResponse, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
        ProducerId, RequestHeader, ResponseHeader,
        api_versions_response::ApiVersion,
        metadata_request::MetadataRequestTopic,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
        produce_request::{PartitionProduceData, TopicProduceData},
        produce_response::{
            BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
            TopicProduceResponse,
        },
    },
    protocol::{Decodable, Encodable, Message, StrBytes, VersionRange},
};

/// An answer's frame without its length; empty when none is due.
pub(super) struct Answer {
    pub body: Vec<u8>,
    /// Whether the connection stays.
    pub goes_on: bool,
}

/// Carries out a request. `None` closes the connection, as Kafka does for what it cannot read or does not allow.
pub(super) fn answer(session: &mut Session, key: ApiKey, head: Head, frame: &[u8]) -> Option<Answer> {
    let offered = offered(&session.shared, key);
    if key == ApiKey::ApiVersions && !offered.as_ref().is_some_and(|it| it.contains(&head.version)) {
        // The one call whose version cannot be known before: answered in version 0.
        return Some(reply(
            key,
            Head { version: 0, ..head },
            &api_versions(session, error::UNSUPPORTED_VERSION),
        ));
    }
    if !offered?.contains(&head.version) {
        return None;
    }
    let mut bytes = Bytes::copy_from_slice(frame);
    RequestHeader::decode(&mut bytes, key.request_header_version(head.version)).ok()?;
    if !session.login.allows(key) {
        return None;
    }
    let done = match key {
        ApiKey::ApiVersions => {
            let request = ApiVersionsRequest::decode(&mut bytes, head.version).ok()?;
            let unnamed = head.version >= 3 && request.client_software_name.is_empty();
            let code = if unnamed { error::INVALID_REQUEST } else { error::NONE };
            let code = session.error.map_or(code, |(code, _)| code);
            reply(key, head, &api_versions(session, code))
        }
        ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => {
            return session.login.answer(key, head, bytes, session.error);
        }
        ApiKey::Metadata => {
            let request = MetadataRequest::decode(&mut bytes, head.version).ok()?;
            reply(key, head, &metadata(session, head.version, request))
        }
        ApiKey::InitProducerId => {
            let request = InitProducerIdRequest::decode(&mut bytes, head.version).ok()?;
            reply(key, head, &init_producer_id(session, &request)?)
        }
        ApiKey::Produce => {
            let request = ProduceRequest::decode(&mut bytes, head.version).ok()?;
            // Kafka never answers a request in which records are null.
            let null = |it: &TopicProduceData| it.partition_data.iter().any(|data| data.records.is_none());
            let silent = request.acks == 0 || request.topic_data.iter().any(null);
            let response = produce(session, head.version, request);
            if silent { Answer { body: Vec::new(), goes_on: true } } else { reply(key, head, &response) }
        }
        _ => return None,
    };
    (!bytes.has_remaining()).then_some(done)
}

/// The versions that are spoken, which for Produce are fewer than those told.
fn offered(shared: &Shared, key: ApiKey) -> Option<std::ops::RangeInclusive<i16>> {
    let offer = shared.settings.versions.iter().find(|(other, _, _)| *other == key);
    let spoken = if key == ApiKey::Produce { 3 } else { 0 };
    offer.map(|&(_, lowest, highest)| lowest.max(spoken)..=highest)
}

/// Encodes an answer in the version of its request.
pub(super) fn reply<R: Encodable + Message>(key: ApiKey, head: Head, response: &R) -> Answer {
    let VersionRange { min, max } = R::VERSIONS;
    assert!((min..=max).contains(&head.version), "{key:?} version {} cannot be encoded", head.version);
    let mut body = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(head.correlation);
    header.encode(&mut body, key.response_header_version(head.version)).expect("the header can be encoded");
    response.encode(&mut body, head.version).expect("the answer fits its version");
    Answer { body: body.to_vec(), goes_on: true }
}

fn api_versions(session: &Session, code: i16) -> ApiVersionsResponse {
    let offer = |&(key, lowest, highest): &(ApiKey, i16, i16)| {
        ApiVersion::default().with_api_key(key as i16).with_min_version(lowest).with_max_version(highest)
    };
    ApiVersionsResponse::default()
        .with_error_code(code)
        .with_api_keys(session.shared.settings.versions.iter().map(offer).collect())
        .with_throttle_time_ms(session.throttle_ms)
}

fn metadata(session: &Session, version: i16, request: MetadataRequest) -> MetadataResponse {
    let create = session.shared.settings.auto_create && request.allow_auto_topic_creation;
    let forced = session.error.map(|(code, _)| code);
    let cluster = &mut session.shared.state().cluster;
    // No list means all topics; up to version 0 an empty one does.
    let asked = request.topics.filter(|topics| version > 0 || !topics.is_empty()).unwrap_or_else(|| {
        let name = |name| MetadataRequestTopic::default().with_name(Some(crate::raw::topic_name(name)));
        cluster.names().iter().map(|it| name(it)).collect()
    });
    let topics = asked.iter().map(|topic| one_topic(cluster, topic, create, forced)).collect();
    let broker = |(id, address): (i32, std::net::SocketAddr)| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(id))
            .with_host(StrBytes::from_string(address.ip().to_string()))
            .with_port(address.port().into())
    };
    MetadataResponse::default()
        .with_throttle_time_ms(session.throttle_ms)
        .with_brokers(cluster.nodes().map(broker).collect())
        .with_cluster_id(Some(StrBytes::from_static_str("fake")))
        .with_controller_id(BrokerId(1))
        .with_topics(topics)
}

fn one_topic(
    cluster: &mut Cluster,
    asked: &MetadataRequestTopic,
    create: bool,
    forced: Option<i16>,
) -> MetadataResponseTopic {
    let told = MetadataResponseTopic::default().with_name(asked.name.clone()).with_topic_id(asked.topic_id);
    if let Some(code) = forced {
        return told.with_error_code(code);
    }
    let Some(name) = asked.name.as_ref().map(|name| name.0.to_string()) else {
        return match cluster.find_id(asked.topic_id) {
            Some((name, topic)) => {
                let name = crate::raw::topic_name(name);
                told.with_name(Some(name)).with_partitions(partitions(&topic.partitions))
            }
            None => told.with_error_code(error::UNKNOWN_TOPIC_ID),
        };
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 249 || !name.chars().all(legal) || name == "." || name == ".." {
        return told.with_error_code(error::INVALID_TOPIC_EXCEPTION);
    }
    match cluster.find(&name) {
        Some(topic) => told.with_topic_id(topic.id).with_partitions(partitions(&topic.partitions)),
        None => {
            if create {
                cluster.create(&name, 1); // Known from the next request on, as in Kafka.
            }
            told.with_error_code(error::UNKNOWN_TOPIC_OR_PARTITION)
        }
    }
}

fn partitions(all: &[Partition]) -> Vec<MetadataResponsePartition> {
    let one = |(index, it): (i32, &Partition)| {
        let (leader, epoch) = it.told();
        let replicas = if leader < 0 { vec![] } else { vec![BrokerId(leader)] };
        MetadataResponsePartition::default()
            .with_error_code(if leader < 0 { error::LEADER_NOT_AVAILABLE } else { error::NONE })
            .with_partition_index(index)
            .with_leader_id(BrokerId(leader))
            .with_leader_epoch(epoch)
            .with_replica_nodes(replicas.clone())
            .with_isr_nodes(replicas)
    };
    (0..).zip(all).map(one).collect()
}

/// Without a transactional id Kafka hands out a new id whatever the request says of an old one.
fn init_producer_id(session: &Session, request: &InitProducerIdRequest) -> Option<InitProducerIdResponse> {
    let told = InitProducerIdResponse::default().with_throttle_time_ms(session.throttle_ms);
    let wrong = match &request.transactional_id {
        None => None,
        Some(id) if id.is_empty() => Some(error::INVALID_REQUEST),
        Some(_) => return None, // Transactions are not for this fake.
    };
    let id = session.shared.state().cluster.new_producer();
    Some(match session.error.map(|(code, _)| code).or(wrong) {
        Some(code) => told.with_error_code(code).with_producer_id(ProducerId(-1)).with_producer_epoch(-1),
        None => told.with_producer_id(ProducerId(id)).with_producer_epoch(0),
    })
}

fn produce(session: &Session, version: i16, request: ProduceRequest) -> ProduceResponse {
    let mut hints = Vec::new();
    let mut responses = Vec::new();
    for topic in &request.topic_data {
        let mut told = Vec::new();
        for data in &topic.partition_data {
            let sent = Sent { version, acks: request.acks, topic, data };
            let forced = session.error.map(|(code, _)| refusal(&sent, code));
            let carried_out = session.error.is_none_or(|(_, after)| after);
            let answer = carried_out.then(|| append(session, &sent, &mut hints));
            told.extend(forced.or(answer));
        }
        let named =
            TopicProduceResponse::default().with_name(topic.name.clone()).with_topic_id(topic.topic_id);
        responses.push(named.with_partition_responses(told));
    }
    let cluster = &session.shared.state().cluster;
    let endpoints =
        cluster.nodes().filter(|(id, _)| version >= 10 && hints.contains(id)).map(|(id, address)| {
            NodeEndpoint::default()
                .with_node_id(BrokerId(id))
                .with_host(StrBytes::from_string(address.ip().to_string()))
                .with_port(address.port().into())
        });
    ProduceResponse::default()
        .with_responses(responses)
        .with_throttle_time_ms(session.throttle_ms)
        .with_node_endpoints(endpoints.collect())
}

/// One partition of a Produce request.
struct Sent<'a> {
    version: i16,
    acks: i16,
    topic: &'a TopicProduceData,
    data: &'a PartitionProduceData,
}

fn append(session: &Session, sent: &Sent, hints: &mut Vec<i32>) -> PartitionProduceResponse {
    let mut state = session.shared.state();
    let state = &mut *state;
    let (found, unknown) = match sent.version {
        13.. => (state.cluster.find_id(sent.topic.topic_id).map(|(_, it)| it), error::UNKNOWN_TOPIC_ID),
        _ => (state.cluster.find(&sent.topic.name.0), error::UNKNOWN_TOPIC_OR_PARTITION),
    };
    let Some(topic) = found else { return refusal(sent, unknown) };
    if topic.denied.iter().any(|user| session.login.user() == Some(user)) {
        return refusal(sent, error::TOPIC_AUTHORIZATION_FAILED);
    }
    let rules = topic.rules;
    let Some(partition) = usize::try_from(sent.data.index).ok().and_then(|i| topic.partitions.get_mut(i))
    else {
        return refusal(sent, error::UNKNOWN_TOPIC_OR_PARTITION);
    };
    if !(-1..=1).contains(&sent.acks) {
        return refusal(sent, error::INVALID_REQUIRED_ACKS);
    }
    if partition.leader != session.node {
        let (leader, epoch) = partition.hinted();
        hints.push(leader);
        let hint = LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader)).with_leader_epoch(epoch);
        let told = refusal(sent, error::NOT_LEADER_OR_FOLLOWER);
        return if sent.version >= 10 { told.with_current_leader(hint) } else { told };
    }
    let Some(records) = sent.data.records.as_deref() else {
        return refusal(sent, error::UNKNOWN_SERVER_ERROR);
    };
    let verdict = partition.log.append(records, sent.version, rules, now_ms(), &mut state.complaints);
    let fault = |&index: &i32| BatchIndexAndErrorMessage::default().with_batch_index(index);
    let faults = if sent.version >= 8 { verdict.records.iter().map(fault).collect() } else { Vec::new() };
    refusal(sent, verdict.error)
        .with_base_offset(verdict.base_offset)
        .with_log_append_time_ms(verdict.append_time)
        .with_log_start_offset(if sent.version >= 5 { verdict.log_start } else { -1 })
        .with_record_errors(faults)
}

fn refusal(sent: &Sent, code: i16) -> PartitionProduceResponse {
    PartitionProduceResponse::default()
        .with_index(sent.data.index)
        .with_error_code(code)
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1)
}
