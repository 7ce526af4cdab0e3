import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.File;
import java.io.FileInputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.internal.FileRecords;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Administers, produces and consumes for the rig, by Kafka's own clients: the independent witness of the tests.
 *
 * A JSON array of words comes in on each line of standard input, a JSON object goes out. It stays one process because a
 * Java program takes a second to start.
 */
public final class RigHelper {
    private static final ObjectMapper JSON =
        new ObjectMapper().disable(JsonGenerator.Feature.AUTO_CLOSE_TARGET);
    private static final long PATIENCE_MS = 60_000;

    private final String bootstrap;
    private final Admin admin;

    private RigHelper(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap, "default.api.timeout.ms", "20000",
            "request.timeout.ms", "5000", "reconnect.backoff.ms", "20", "reconnect.backoff.max.ms", "200",
            "retry.backoff.ms", "20", "retry.backoff.max.ms", "200"));
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream out = System.out;
        System.setOut(System.err); // Nothing but answers goes to standard output.
        RigHelper helper = new RigHelper(arguments[0]);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Map<String, Object> answer = new LinkedHashMap<>();
            try {
                answer.putAll(helper.run(JSON.readValue(line, String[].class)));
                answer.put("ok", true);
            } catch (Throwable error) {
                boolean wrapped = error instanceof ExecutionException && error.getCause() != null;
                answer.put("error", String.valueOf(wrapped ? error.getCause() : error));
                answer.put("ok", false);
            }
            out.println(JSON.writeValueAsString(answer));
            out.flush();
        }
        helper.admin.close();
    }

    private Map<String, Object> run(String[] words) throws Exception {
        switch (words[0]) {
            case "settle": return settle(words[1], Long.parseLong(words[2]));
            case "create": return create(words);
            case "grow": return grow(words[1], Integer.parseInt(words[2]));
            case "delete": return delete(words[1]);
            case "config": return config(ConfigResource.Type.TOPIC, words);
            case "brokers": return config(ConfigResource.Type.BROKER, words);
            case "quota": return quota(words[1], words[2]);
            case "describe": return describe(words[1]);
            case "lead": return lead(words[1], Integer.parseInt(words[2]), Integer.parseInt(words[3]));
            case "truncate": return truncate(words[1], Integer.parseInt(words[2]), Long.parseLong(words[3]));
            case "producers": return producers(words[1]);
            case "deny": return deny(words[1], words[2]);
            case "scram": return scram(words);
            case "produce": return produce(words);
            case "consume": return consume(words[1], Path.of(words[2]));
            case "dump": return dump(new File(words[1]), Path.of(words[2]));
            default: throw new IllegalArgumentException("unknown command " + words[0] + ": see rig --help");
        }
    }

    /** Waits until exactly the named nodes (or more) serve and all their replicas are in sync. */
    private Map<String, Object> settle(String nodes, long withinMs) throws Exception {
        Set<Integer> wanted = Arrays.stream(nodes.split(",")).map(Integer::parseInt).collect(Collectors.toSet());
        long end = System.currentTimeMillis() + withinMs;
        String missing = "no node answers";
        while (System.currentTimeMillis() < end) {
            try {
                missing = unsettled(wanted);
                if (missing == null) return Map.of("nodes", wanted);
            } catch (ExecutionException notYet) {
                missing = String.valueOf(notYet.getCause());
            }
            Thread.sleep(50);
        }
        throw new IllegalStateException("not settled: " + missing);
    }

    private String unsettled(Set<Integer> wanted) throws Exception {
        Set<Integer> serving = ids(admin.describeCluster().nodes().get());
        if (!serving.containsAll(wanted)) return "nodes " + wanted + " are wanted, " + serving + " serve";
        for (TopicDescription topic : topics().values()) {
            for (TopicPartitionInfo partition : topic.partitions()) {
                Set<Integer> should = ids(partition.replicas());
                should.retainAll(wanted);
                boolean led = partition.leader() != null && wanted.contains(partition.leader().id());
                if (!led || !ids(partition.isr()).containsAll(should)) {
                    return topic.name() + "-" + partition.partition() + " is not in sync: " + partition;
                }
            }
        }
        return null;
    }

    private Map<String, TopicDescription> topics() throws Exception {
        return admin.describeTopics(admin.listTopics().names().get()).allTopicNames().get();
    }

    private static Set<Integer> ids(Collection<Node> nodes) {
        return nodes.stream().map(Node::id).collect(Collectors.toCollection(HashSet::new));
    }

    private Map<String, Object> create(String[] words) throws Exception {
        Map<String, String> configs = pairs(words, 4);
        NewTopic topic = new NewTopic(words[1], Integer.parseInt(words[2]), Short.parseShort(words[3]));
        admin.createTopics(List.of(topic.configs(configs))).all().get();
        int partitions = Integer.parseInt(words[2]);
        // Described in the same breath: the next question may go to a broker that does not know the topic yet.
        List<Map<String, Object>> told = new ArrayList<>();
        until(() -> led(words[1]) == partitions && told.add(describe(words[1])), words[1] + " has no leaders");
        return told.get(0);
    }

    private Map<String, Object> grow(String topic, int partitions) throws Exception {
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(partitions))).all().get();
        List<Map<String, Object>> told = new ArrayList<>();
        until(() -> led(topic) == partitions && told.add(describe(topic)), topic + " does not have " + partitions + " partitions");
        return told.get(0);
    }

    private long led(String topic) throws Exception {
        return one(topic).partitions().stream().filter(p -> p.leader() != null && !p.leader().isEmpty()).count();
    }

    private Map<String, Object> delete(String topic) throws Exception {
        admin.deleteTopics(List.of(topic)).all().get();
        until(() -> !admin.listTopics().names().get().contains(topic), topic + " is still there");
        return Map.of();
    }

    /** Of a topic by its name, or of all brokers, whose common name is empty. A value left out restores the default. */
    private Map<String, Object> config(ConfigResource.Type type, String[] words) throws Exception {
        boolean named = type == ConfigResource.Type.TOPIC;
        ConfigResource resource = new ConfigResource(type, named ? words[1] : "");
        List<AlterConfigOp> changes = new ArrayList<>();
        pairs(words, named ? 2 : 1).forEach((key, value) -> changes.add(new AlterConfigOp(new ConfigEntry(key, value),
            value.isEmpty() ? AlterConfigOp.OpType.DELETE : AlterConfigOp.OpType.SET)));
        admin.incrementalAlterConfigs(Map.of(resource, changes)).all().get();
        return Map.of();
    }

    /** How many producers the leaders of a topic's partitions remember. */
    private Map<String, Object> producers(String topic) throws Exception {
        List<TopicPartition> all = one(topic).partitions().stream()
            .map(p -> new TopicPartition(topic, p.partition())).toList();
        int known = 0;
        for (var partition : admin.describeProducers(all).all().get().values()) known += partition.activeProducers().size();
        return Map.of("producers", known);
    }

    /** Bytes a second that brokers let a client id produce; "none" lifts the quota. */
    private Map<String, Object> quota(String client, String bytes) throws Exception {
        ClientQuotaEntity entity = new ClientQuotaEntity(Map.of(ClientQuotaEntity.CLIENT_ID, client));
        Double value = bytes.equals("none") ? null : Double.valueOf(bytes);
        ClientQuotaAlteration.Op change = new ClientQuotaAlteration.Op("producer_byte_rate", value);
        admin.alterClientQuotas(List.of(new ClientQuotaAlteration(entity, List.of(change)))).all().get();
        return Map.of();
    }

    private static Map<String, String> pairs(String[] words, int from) {
        Map<String, String> pairs = new LinkedHashMap<>();
        for (int i = from; i < words.length; i++) {
            String[] pair = words[i].split("=", 2);
            pairs.put(pair[0], pair[1]);
        }
        return pairs;
    }

    private TopicDescription one(String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    private Map<String, Object> describe(String topic) throws Exception {
        TopicDescription description = one(topic);
        List<Object> partitions = new ArrayList<>();
        for (TopicPartitionInfo partition : description.partitions()) {
            Map<String, Object> told = new LinkedHashMap<>();
            told.put("partition", partition.partition());
            told.put("leader", partition.leader() == null ? -1 : partition.leader().id());
            told.put("replicas", partition.replicas().stream().map(Node::id).toList());
            told.put("in_sync", partition.isr().stream().map(Node::id).toList());
            partitions.add(told);
        }
        return Map.of("topic", topic, "id", description.topicId().toString(), "partitions", partitions);
    }

    /** The wanted leader becomes the first replica, and so the preferred leader, which is then elected. */
    private Map<String, Object> lead(String topic, int partition, int node) throws Exception {
        TopicPartition which = new TopicPartition(topic, partition);
        List<Integer> replicas = new ArrayList<>(one(topic).partitions().get(partition).replicas().stream()
            .map(Node::id).filter(id -> id != node).toList());
        replicas.add(0, node);
        admin.alterPartitionReassignments(Map.of(which, Optional.of(new NewPartitionReassignment(replicas)))).all().get();
        until(() -> {
            Map<TopicPartition, Optional<Throwable>> failed =
                admin.electLeaders(ElectionType.PREFERRED, Set.of(which)).partitions().get();
            Optional<Throwable> why = failed.getOrDefault(which, Optional.empty());
            if (why.isPresent() && !(why.get() instanceof ElectionNotNeededException)) return false;
            Node leader = one(topic).partitions().get(partition).leader();
            return leader != null && leader.id() == node;
        }, which + " is not led by " + node);
        return describe(topic);
    }

    private Map<String, Object> truncate(String topic, int partition, long before) throws Exception {
        TopicPartition which = new TopicPartition(topic, partition);
        long low = admin.deleteRecords(Map.of(which, RecordsToDelete.beforeOffset(before))).lowWatermarks()
            .get(which).get().lowWatermark();
        return Map.of("low_watermark", low);
    }

    private Map<String, Object> deny(String user, String topic) throws Exception {
        AccessControlEntry entry =
            new AccessControlEntry("User:" + user, "*", AclOperation.WRITE, AclPermissionType.DENY);
        ResourcePattern pattern = new ResourcePattern(ResourceType.TOPIC, topic, PatternType.LITERAL);
        // One rule makes everything forbidden that no rule allows: so everyone else is allowed.
        AccessControlEntry others = new AccessControlEntry("User:*", "*", AclOperation.ALL, AclPermissionType.ALLOW);
        admin.createAcls(List.of(new AclBinding(pattern, entry), new AclBinding(pattern, others))).all().get();
        return Map.of();
    }

    private Map<String, Object> scram(String[] words) throws Exception {
        int iterations = words.length > 3 ? Integer.parseInt(words[3]) : 4096;
        for (ScramMechanism mechanism : List.of(ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)) {
            // One user a request, even with different mechanisms.
            admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion(words[1],
                new ScramCredentialInfo(mechanism, iterations), words[2]))).all().get();
        }
        return Map.of();
    }

    /** COUNT records, value `value-N` padded to BYTES, key `key-N`, as the Java producer sends them by default. */
    private Map<String, Object> produce(String[] words) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("max.block.ms", "15000");
        properties.put("delivery.timeout.ms", "90000");
        // A broker that is stopped answers nothing: three questions to it must not use up the time of delivery.
        properties.put("request.timeout.ms", "3000");
        if (words.length > 4) {
            try (InputStream in = new FileInputStream(words[4])) {
                properties.load(in);
            }
        }
        int count = Integer.parseInt(words[2]);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        KafkaProducer<byte[], byte[]> producer =
            new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
        try {
            for (int i = 0; i < count; i++) {
                byte[] value = Arrays.copyOf(("value-" + i).getBytes(StandardCharsets.UTF_8), Integer.parseInt(words[3]));
                sent.add(producer.send(new ProducerRecord<>(words[1], ("key-" + i).getBytes(StandardCharsets.UTF_8), value)));
            }
            // Without a producer id its own delivery timeout does not run, so the wait is bounded here.
            long end = System.currentTimeMillis() + 95_000;
            for (Future<RecordMetadata> each : sent) {
                each.get(Math.max(0, end - System.currentTimeMillis()), TimeUnit.MILLISECONDS);
            }
        } finally {
            producer.close(java.time.Duration.ofSeconds(5)); // By default it waits for ever.
        }
        return Map.of("records", count);
    }

    /** Everything between the first and the last offset at the time of asking, partition by partition. */
    private Map<String, Object> consume(String topic, Path to) throws Exception {
        Map<String, Object> properties = Map.of("bootstrap.servers", bootstrap, "allow.auto.create.topics", "false",
            "auto.offset.reset", "earliest", "fetch.max.wait.ms", "100", "max.poll.records", "5000");
        long records = 0;
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
             BufferedWriter out = Files.newBufferedWriter(to)) {
            List<TopicPartition> all = one(topic).partitions().stream()
                .map(p -> new TopicPartition(topic, p.partition())).toList();
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            for (TopicPartition partition : all) {
                consumer.assign(List.of(partition));
                consumer.seekToBeginning(List.of(partition));
                long patience = System.currentTimeMillis() + PATIENCE_MS;
                while (consumer.position(partition) < ends.get(partition)) {
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(java.time.Duration.ofMillis(100))) {
                        if (record.offset() >= ends.get(partition)) break;
                        JSON.writeValue(out, told(record));
                        out.write('\n');
                        records++;
                        patience = System.currentTimeMillis() + PATIENCE_MS;
                    }
                    if (System.currentTimeMillis() > patience) throw new IllegalStateException(partition + " stands still");
                }
            }
        }
        return Map.of("records", records);
    }

    private static Map<String, Object> told(ConsumerRecord<byte[], byte[]> record) {
        Map<String, Object> told = new LinkedHashMap<>();
        told.put("partition", record.partition());
        told.put("offset", record.offset());
        told.put("timestamp", record.timestamp());
        told.put("key", record.key());
        List<Object> headers = new ArrayList<>();
        for (Header header : record.headers()) headers.add(Arrays.asList(header.key(), header.value()));
        told.put("headers", headers);
        told.put("value", record.value());
        return told;
    }

    /** Batches as they lie in the segments of one partition's folder. */
    private static Map<String, Object> dump(File folder, Path to) throws Exception {
        File[] segments = folder.listFiles((parent, name) -> name.endsWith(".log"));
        if (segments == null) throw new IllegalArgumentException(folder + " is not there");
        Arrays.sort(segments);
        long batches = 0;
        try (BufferedWriter out = Files.newBufferedWriter(to)) {
            for (File segment : segments) {
                try (FileRecords records = FileRecords.open(segment, false)) {
                    for (RecordBatch batch : records.batches()) {
                        Map<String, Object> told = new LinkedHashMap<>();
                        told.put("base_offset", batch.baseOffset());
                        told.put("last_offset", batch.lastOffset());
                        told.put("records", batch.countOrNull());
                        told.put("bytes", batch.sizeInBytes());
                        told.put("codec", batch.compressionType().name);
                        told.put("producer_id", batch.producerId());
                        told.put("epoch", batch.producerEpoch());
                        told.put("sequence", batch.baseSequence());
                        told.put("leader_epoch", batch.partitionLeaderEpoch());
                        told.put("crc", batch.checksum());
                        told.put("valid", batch.isValid());
                        JSON.writeValue(out, told);
                        out.write('\n');
                        batches++;
                    }
                }
            }
        }
        return Map.of("batches", batches);
    }

    private static void until(Callable<Boolean> holds, String otherwise) throws Exception {
        long end = System.currentTimeMillis() + PATIENCE_MS;
        while (true) {
            try {
                if (holds.call()) return;
            } catch (ExecutionException notYet) {
                // A topic just made or moved is not known to every broker at once.
            }
            if (System.currentTimeMillis() > end) throw new IllegalStateException(otherwise);
            Thread.sleep(20);
        }
    }
}
