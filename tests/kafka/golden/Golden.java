import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.ProduceRequestData;
import org.apache.kafka.common.message.ProduceRequestData.PartitionProduceData;
import org.apache.kafka.common.message.ProduceRequestData.TopicProduceData;
import org.apache.kafka.common.message.ProduceResponseData;
import org.apache.kafka.common.message.ProduceResponseData.BatchIndexAndErrorMessage;
import org.apache.kafka.common.message.ProduceResponseData.LeaderIdAndEpoch;
import org.apache.kafka.common.message.ProduceResponseData.NodeEndpoint;
import org.apache.kafka.common.message.ProduceResponseData.PartitionProduceResponse;
import org.apache.kafka.common.message.ProduceResponseData.TopicProduceResponse;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.requests.RequestUtils;
import org.apache.kafka.common.utils.Utils;

/**
 * What the Java client's own encoder makes, for tests to compare with.
 *
 *   mvn -B -q dependency:copy-dependencies -DoutputDirectory="$PWD/../../../target/golden"
 *   java -cp '../../../target/golden/*' Golden.java write > golden.txt
 *   java -cp '../../../target/golden/*' Golden.java read < FILE    # each line "bytes HEX": what Java finds in there
 *
 * Lines: "batch NAME CODEC PRODUCER EPOCH SEQUENCE", its records "record TIME KEY VALUE NAME=VALUE…" (x and hex, "-"
 * for none; a compressed batch has those of the batch before), its "bytes"; "murmur2 KEY HASH"; "request VERSION
 * BYTES" and "response VERSION BYTES" of the contents below.
 */
class Golden {
    static final HexFormat HEX = HexFormat.of();
    static final Uuid ALPHA = new Uuid(0x0123456789abcdefL, 0x1032547698badcfeL);
    static final Uuid BETA = new Uuid(0x7766554433221100L, 0x0a0b0c0d0e0f1011L);
    static final int CORRELATION = 0x01020304;

    record Event(long time, byte[] key, byte[] value, Header... headers) {}

    public static void main(String[] args) throws IOException {
        if (args.length == 1 && args[0].equals("read")) {
            read();
            return;
        }
        System.out.println("# Made by Golden.java with kafka-clients 4.3.1; its head says how.");
        batches();
        for (int length = 0; length < 12; length++) {
            byte[] key = new byte[length];
            for (int at = 0; at < length; at++) key[at] = (byte) (length * 37 + at * 91);
            murmur2(key);
        }
        for (String key : List.of("21", "foobar", "a-little-bit-long-string", "a-little-bit-longer-string",
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", "ключ")) {
            murmur2(bytes(key));
        }
        for (short version = 3; version <= 13; version++) {
            request(version);
            response(version);
        }
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static Header header(String name, String value) {
        return new RecordHeader(name, bytes(value));
    }

    static String hex(byte[] bytes) {
        return bytes == null ? "-" : "x" + HEX.formatHex(bytes);
    }

    static String hex(ByteBuffer buffer) {
        return buffer == null ? "-" : hex(Utils.toArray(buffer));
    }

    static void murmur2(byte[] key) {
        System.out.println("murmur2 " + hex(key) + " " + Utils.murmur2(key));
    }

    static void batches() {
        List<Event> one = List.of(new Event(1_795_219_200_000L, null, bytes("{}")));
        batch("one", "none", Compression.NONE, 4000, 0, 0, one);
        batch("unstamped", "none", Compression.NONE, -1, -1, -1, one);
        batch("largest-stamp", "none", Compression.NONE, Long.MAX_VALUE, Short.MAX_VALUE, Integer.MAX_VALUE, one);
        batch("fields", "none", Compression.NONE, 7, 3, 2147483645, List.of(
            new Event(1_795_219_200_000L, bytes("key"), bytes("{\"a\":1}"), header("stream", "web")),
            new Event(1_795_219_200_001L, bytes(""), bytes(""), header("", ""), header("ключ", "значение")),
            new Event(1_795_219_199_000L, null, bytes("[ ]"), header("id", "0-1041"), header("id", "0-1041")),
            new Event(0, bytes("k"), bytes("0")),
            new Event(4_102_444_800_000L, null, bytes("null"))));
        batch("times", "none", Compression.NONE, 7, 3, 5, Stream.of(1L << 62, 0L, Long.MAX_VALUE, 1L << 40, 63L, 64L)
            .map(time -> new Event(time, null, bytes("1"))).collect(Collectors.toList()));
        List<Event> lengths = new ArrayList<>();
        for (int length : new int[] {1, 53, 54, 55, 56, 57, 58, 62, 63, 64, 65, 127, 128, 8180, 8191, 8192}) {
            lengths.add(new Event(1_795_219_200_000L + length, null, bytes("v".repeat(length))));
            if (length < 130) lengths.add(new Event(1_795_219_200_000L, bytes("k".repeat(length)), bytes("{}")));
        }
        batch("lengths", "none", Compression.NONE, 7, 3, 5, lengths);
        List<Event> many = new ArrayList<>();
        for (int n = 0; n < 200; n++) {
            many.add(new Event(1_795_219_200_000L + n / 7, null, bytes("{\"n\":" + n + ",\"text\":\"the same in each\"}")));
        }
        batch("many", "none", Compression.NONE, 9_007_199_254_740_991L, 12, 100, many);
        batch("many-lz4", "lz4", Compression.lz4().build(), 9_007_199_254_740_991L, 12, 100, many);
        batch("many-zstd", "zstd", Compression.zstd().build(), 9_007_199_254_740_991L, 12, 100, many);
    }

    static MemoryRecords records(Compression codec, long producer, int epoch, int sequence, List<Event> events) {
        try (var builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 16), RecordBatch.MAGIC_VALUE_V2, codec,
                TimestampType.CREATE_TIME, 0L, RecordBatch.NO_TIMESTAMP, producer, (short) epoch, sequence)) {
            for (Event event : events) builder.append(event.time, event.key, event.value, event.headers);
            return builder.build();
        }
    }

    static void batch(String name, String codecName, Compression codec, long producer, int epoch, int sequence,
            List<Event> events) {
        System.out.println("batch " + name + " " + codecName + " " + producer + " " + epoch + " " + sequence);
        for (Event event : codecName.equals("none") ? events : List.<Event>of()) {
            print(event.time, hex(event.key), hex(event.value), event.headers);
        }
        System.out.println("bytes " + hex(records(codec, producer, epoch, sequence, events).buffer()));
    }

    static void print(long time, String key, String value, Header[] headers) {
        System.out.println("record " + time + " " + key + " " + value
            + Stream.of(headers).map(h -> " " + hex(bytes(h.key())) + "=" + hex(h.value())).collect(Collectors.joining()));
    }

    static PartitionProduceData partition(int index, String value) {
        return new PartitionProduceData().setIndex(index).setRecords(
            records(Compression.NONE, 4000 + index, 1, 5, List.of(new Event(1_795_219_200_000L, null, bytes(value)))));
    }

    /** Topic alpha with partitions 0 and 7, topic beta with partition 300, whose batch has a length of two bytes. */
    static void request(short version) {
        var topics = new ProduceRequestData.TopicProduceDataCollection();
        var alpha = new TopicProduceData().setPartitionData(List.of(partition(0, "{\"a\":0}"), partition(7, "[7]")));
        var beta = new TopicProduceData().setPartitionData(List.of(partition(300, "b".repeat(500))));
        topics.add(version >= 13 ? alpha.setTopicId(ALPHA) : alpha.setName("alpha"));
        topics.add(version >= 13 ? beta.setTopicId(BETA) : beta.setName("beta"));
        var data = new ProduceRequestData().setTransactionalId(null).setAcks((short) -1).setTimeoutMs(30_000)
            .setTopicData(topics);
        var header = new RequestHeaderData().setRequestApiKey((short) 0).setRequestApiVersion(version)
            .setCorrelationId(CORRELATION).setClientId("ringmill");
        short headerVersion = (short) (version >= 9 ? 2 : 1);
        System.out.println("request " + version + " " + hex(RequestUtils.serialize(header, headerVersion, data, version)));
    }

    /** alpha 0 written at 1041; alpha 7 moved to broker 2; beta 300 refused because of records 0 and 5. */
    static void response(short version) {
        var written = new PartitionProduceResponse().setIndex(0).setErrorCode((short) 0).setBaseOffset(1041)
            .setLogAppendTimeMs(-1);
        var moved = new PartitionProduceResponse().setIndex(7).setErrorCode((short) 6).setBaseOffset(-1)
            .setLogAppendTimeMs(-1);
        var refused = new PartitionProduceResponse().setIndex(300).setErrorCode((short) 87).setBaseOffset(-1)
            .setLogAppendTimeMs(1_795_219_200_000L);
        if (version >= 5) written.setLogStartOffset(17);
        if (version >= 8) {
            refused.setErrorMessage("invalid").setRecordErrors(List.of(
                new BatchIndexAndErrorMessage().setBatchIndex(0).setBatchIndexErrorMessage("no key"),
                new BatchIndexAndErrorMessage().setBatchIndex(5).setBatchIndexErrorMessage(null)));
        }
        var data = new ProduceResponseData().setThrottleTimeMs(250);
        if (version >= 10) {
            moved.setCurrentLeader(new LeaderIdAndEpoch().setLeaderId(2).setLeaderEpoch(9));
            var nodes = new ProduceResponseData.NodeEndpointCollection();
            nodes.add(new NodeEndpoint().setNodeId(2).setHost("127.0.0.1").setPort(19094).setRack("r1"));
            nodes.add(new NodeEndpoint().setNodeId(3).setHost("::1").setPort(19095));
            data.setNodeEndpoints(nodes);
        }
        var topics = new ProduceResponseData.TopicProduceResponseCollection();
        var alpha = new TopicProduceResponse().setPartitionResponses(List.of(written, moved));
        var beta = new TopicProduceResponse().setPartitionResponses(List.of(refused));
        topics.add(version >= 13 ? alpha.setTopicId(ALPHA) : alpha.setName("alpha"));
        topics.add(version >= 13 ? beta.setTopicId(BETA) : beta.setName("beta"));
        data.setResponses(topics);
        var header = new ResponseHeaderData().setCorrelationId(CORRELATION);
        short headerVersion = (short) (version >= 9 ? 1 : 0);
        System.out.println("response " + version + " " + hex(RequestUtils.serialize(header, headerVersion, data, version)));
    }

    static void read() throws IOException {
        for (String line : new String(System.in.readAllBytes(), StandardCharsets.UTF_8).split("\n")) {
            if (!line.startsWith("bytes x")) continue;
            var records = MemoryRecords.readableRecords(ByteBuffer.wrap(HEX.parseHex(line.substring(7))));
            for (RecordBatch batch : records.batches()) {
                batch.ensureValid();
                System.out.println("batch read " + batch.compressionType().name + " " + batch.producerId() + " "
                    + batch.producerEpoch() + " " + batch.baseSequence());
                for (Record record : batch) {
                    record.ensureValid();
                    print(record.timestamp(), hex(record.key()), hex(record.value()), record.headers());
                }
            }
            System.out.println(line);
        }
    }
}
