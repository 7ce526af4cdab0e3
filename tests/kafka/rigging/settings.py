"""server.properties of one node, as text."""

SECURE = ("SASL", "SSL", "SASLSSL", "MTLS")
PROTOCOLS = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", "PROXIED": "PLAINTEXT", "SASL": "SASL_PLAINTEXT",
             "SSL": "SSL", "SASLSSL": "SASL_SSL", "MTLS": "SSL"}
PLAIN_USERS = (("alice", "pw-alice"), ("carol", "pw-carol"))

COMMON = """
process.roles=broker,controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
transaction.state.log.num.partitions=1
# A leader that was killed is replaced in one to two seconds, and a node that was killed is let in again as soon.
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
num.network.threads=2
num.io.threads=4
background.threads=2
# The default cleaner buffer asks for 128 MB of heap.
log.cleaner.dedupe.buffer.size=4194304
"""

ONE = """
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""

THREE = """
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
replica.lag.time.max.ms=3000
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
"""


def properties(node, voters, advertised, nodes, pki, overrides):
    """`node` has number, folder and ports by listener; `advertised` are listeners whose advertised port is not the
    one listened on; `overrides` win over everything."""
    listeners = [f"{name}://127.0.0.1:{port}" for name, port in node.ports.items()]
    told = [f"{name}://127.0.0.1:{advertised.get(name, port)}" for name, port in node.ports.items()
            if name != "CONTROLLER"]
    lines = [f"node.id={node.number}", f"controller.quorum.voters={voters}", f"listeners={','.join(listeners)}",
             f"advertised.listeners={','.join(told)}", f"log.dirs={node.data}",
             "listener.security.protocol.map=" + ",".join(f"{n}:{PROTOCOLS[n]}" for n in node.ports)]
    text = COMMON + (ONE if nodes == 1 else THREE) + "\n".join(lines) + "\n"
    if "SASL" in node.ports:
        text += _security(pki)
    return text + "".join(f"{key}={value}\n" for key, value in overrides)


def _security(pki):
    """SASL by PLAIN and SCRAM, TLS with and without a client's certificate, and an authoriser that allows what no
    rule forbids."""
    users = " ".join(f'user_{name}="{password}"' for name, password in PLAIN_USERS)
    plain = f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    lines = ["sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN",
             "ssl.keystore.type=PEM", f"ssl.keystore.location={pki}/broker-store.pem",
             "ssl.truststore.type=PEM", f"ssl.truststore.location={pki}/ca.pem",
             "listener.name.mtls.ssl.client.auth=required",
             "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
             "super.users=User:ANONYMOUS", "allow.everyone.if.no.acl.found=true"]
    for listener in ("sasl", "saslssl"):
        start = f"listener.name.{listener}"
        lines += [f"{start}.plain.sasl.jaas.config={plain}", f"{start}.scram-sha-256.sasl.jaas.config={scram}",
                  f"{start}.scram-sha-512.sasl.jaas.config={scram}"]
    return "\n".join(lines) + "\n"
