//! A client without cleverness: it sends what it is told and hands back what came.

use crate::{
    fake::error,
    wire::{framed, now_ms, read_frame},
};
use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, InitProducerIdRequest, MetadataRequest, MetadataResponse, ProduceRequest, RequestHeader,
        ResponseHeader, TopicName,
        metadata_request::MetadataRequestTopic,
        produce_request::{PartitionProduceData, TopicProduceData},
        produce_response::PartitionProduceResponse,
    },
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes},
};
use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};
use uuid::Uuid;

/// No read waits longer, unless `patience` says otherwise.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection to a broker.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    correlation: i32,
}

/// A topic by both its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name, used by Produce up to version 12.
    pub name: String,
    /// Its id, used from version 13.
    pub id: Uuid,
    /// The leader of each partition, −1 for none.
    pub leaders: Vec<i32>,
}

impl Raw {
    /// Connects.
    pub fn connect(address: SocketAddr) -> io::Result<Raw> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Raw { stream, correlation: 0 })
    }

    /// How long a read may wait.
    pub fn patience(&mut self, patience: Duration) -> &mut Raw {
        self.stream.set_read_timeout(Some(patience)).expect("the socket is open");
        self
    }

    /// Sends a request and reads its answer.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        let correlation = self.send(version, request)?;
        self.receive::<R>(version, correlation)
    }

    /// Sends a request; returns the correlation number that the answer must carry.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> io::Result<i32> {
        self.correlation += 1;
        self.send_bytes(&encode(self.correlation, version, request))?;
        Ok(self.correlation)
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads the answer to a request. An orderly end of the connection is `UnexpectedEof`.
    pub fn receive<R: Request>(&mut self, version: i16, correlation: i32) -> io::Result<R::Response> {
        let mut frame = Bytes::from(self.receive_bytes()?);
        let header_version = R::Response::header_version(version);
        let header = ResponseHeader::decode(&mut frame, header_version).map_err(io::Error::other)?;
        if header.correlation_id != correlation {
            let got = header.correlation_id;
            return Err(io::Error::other(format!("the answer is to {got}, not to {correlation}")));
        }
        let response = R::Response::decode(&mut frame, version).map_err(io::Error::other)?;
        match frame.len() {
            0 => Ok(response),
            left => Err(io::Error::other(format!("{left} bytes after the answer"))),
        }
    }

    /// Reads one frame.
    pub fn receive_bytes(&mut self) -> io::Result<Vec<u8>> {
        read_frame(&mut self.stream)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// What Metadata says of these topics; nothing is created.
    pub fn metadata(&mut self, names: &[&str]) -> io::Result<MetadataResponse> {
        let topics =
            names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
        let request = MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(false);
        self.call(12, &request)
    }

    /// A new producer id. A broker that has just started has none to give and says to come again: this waits.
    pub fn producer_id(&mut self) -> io::Result<i64> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None) // The codec's default is an empty one, which Kafka refuses.
            .with_transaction_timeout_ms(60_000);
        loop {
            match self.call(4, &request)? {
                it if it.error_code == 0 => return Ok(it.producer_id.0),
                it if it.error_code == error::COORDINATOR_LOAD_IN_PROGRESS => {}
                it => return Err(io::Error::other(format!("InitProducerId: error {}", it.error_code))),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// A topic's id and leaders. Panics when it is not there: a test's mistake.
    pub fn topic(&mut self, name: &str) -> io::Result<Topic> {
        let answer = self.metadata(&[name])?;
        let topic = &answer.topics[0];
        assert_eq!(topic.error_code, 0, "topic {name}");
        let mut leaders = vec![-1; topic.partitions.len()];
        for partition in &topic.partitions {
            leaders[usize::try_from(partition.partition_index).unwrap()] = partition.leader_id.0;
        }
        Ok(Topic { name: name.into(), id: topic.topic_id, leaders })
    }

    /// Puts bytes into a partition with acks=all and reads what the broker says of them.
    pub fn produce(
        &mut self,
        version: i16,
        topic: &Topic,
        partition: i32,
        records: Option<Vec<u8>>,
    ) -> io::Result<PartitionProduceResponse> {
        let mut answer = self.call(version, &produce_request(topic, partition, -1, records))?;
        Ok(answer.responses.remove(0).partition_responses.remove(0))
    }
}

/// A Produce request of one partition.
pub fn produce_request(topic: &Topic, partition: i32, acks: i16, records: Option<Vec<u8>>) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(records.map(Bytes::from));
    let topic = TopicProduceData::default()
        .with_name(topic_name(&topic.name))
        .with_topic_id(topic.id)
        .with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(5000).with_topic_data(vec![topic])
}

/// A whole request, its length before it.
pub fn encode<R: Request>(correlation: i32, version: i16, request: &R) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("raw")));
    let mut body = BytesMut::new();
    let key = ApiKey::try_from(R::KEY).expect("a request has a known key");
    header.encode(&mut body, key.request_header_version(version)).expect("the header can be encoded");
    request.encode(&mut body, version).expect("the request fits its version");
    framed(&body)
}

/// A name as the codec wants it.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.into()))
}

/// The time of now for records, in milliseconds since 1970.
pub fn timestamp() -> i64 {
    now_ms()
}
