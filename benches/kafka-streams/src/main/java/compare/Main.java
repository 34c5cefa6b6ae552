package compare;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/**
 * {@code fill BOOTSTRAP TOPIC EVENTS PASSES}: makes a topic and writes passes of events.
 *
 * <p>{@code run BOOTSTRAP TOPIC EVENTS fold|dsl}: folds the topic's events exactly once by Kafka Streams until the application has caught
 * up, and prints events per CPU-second of this process: of the first EVENTS events (cold) and of the rest (steady). Then one thread
 * folds the same records by a plain consumer; every account must have the same totals, else the exit code is 1.
 */
final class Main {
    private static final OperatingSystemMXBean PROCESS = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
    private static final int PARTITIONS = 4;
    private static final int THREADS = 2;
    /** That of flushes in benches/kafka.rs. */
    private static final Duration COMMIT_INTERVAL = Duration.ofSeconds(10);
    /** Without a change for this long, nothing is on its way any more. */
    private static final Duration QUIET = COMMIT_INTERVAL.multipliedBy(2);
    private static final Duration LIMIT = Duration.ofMinutes(60);
    private static final long CACHE_BYTES = 1L << 30;

    private Main() {}

    /** CPU time of this process and time, so far. */
    private record Instant(long cpuNanos, long nanos) {
        static Instant now() {
            return new Instant(PROCESS.getProcessCpuTime(), System.nanoTime());
        }
    }

    public static void main(String[] args) {
        var isRight = false;
        try {
            isRight = act(args);
        } catch (Exception e) {
            e.printStackTrace();
        }
        System.out.printf("process CPU by the JVM: %.2f s%n", PROCESS.getProcessCpuTime() / 1e9);
        // Threads of a job that failed must not keep the process.
        System.exit(isRight ? 0 : 1);
    }

    private static boolean act(String[] args) throws Exception {
        return switch (args.length == 0 ? "" : args[0]) {
            case "fill" -> fill(args[1], args[2], Integer.parseInt(args[3]), Integer.parseInt(args[4]));
            case "run" -> run(args[1], args[2], Long.parseLong(args[3]), args[4]);
            default -> throw new IllegalArgumentException("usage: fill BOOTSTRAP TOPIC EVENTS PASSES | run BOOTSTRAP TOPIC EVENTS fold|dsl");
        };
    }

    private static boolean fill(String bootstrap, String topic, int events, int passes) throws Exception {
        try (var admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            var config = Map.of("message.timestamp.type", "LogAppendTime");
            admin.createTopics(List.of(new NewTopic(topic, PARTITIONS, (short) 1).configs(config))).all().get();
        }
        Load.fill(bootstrap, topic, events, passes);
        return true;
    }

    private static boolean run(String bootstrap, String topic, long coldEvents, String kind) throws Exception {
        var names = new Names(topic, "bench-streams-" + kind + "-" + ProcessHandle.current().pid());
        var counters = new Counters();
        try (var admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            var partitions = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
            var starts = offsets(admin, topic, partitions, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED);
            var ends = offsets(admin, topic, partitions, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED);
            var events = sum(ends) - sum(starts);
            var compacted = Map.of("cleanup.policy", "compact");
            admin.createTopics(List.of(
                new NewTopic(names.accounts(), partitions, (short) 1).configs(compacted),
                new NewTopic(names.parts(), partitions, (short) 1))).all().get();
            var topology = switch (kind) {
                case "fold" -> FoldingJob.topology(names, partitions, COMMIT_INTERVAL, counters);
                case "dsl" -> DslJob.topology(names, counters);
                default -> throw new IllegalArgumentException("fold or dsl, not " + kind);
            };
            var state = Files.createTempDirectory("bench-streams");
            measure(admin, names, new Measured(bootstrap, topology, state, ends, events, Math.min(coldEvents, events), kind), counters);
            delete(state);
            var isRight = check(bootstrap, names, partitions, starts, ends, events);
            forget(admin, names);
            return isRight;
        }
    }

    private record Measured(String bootstrap, Topology topology, Path state, Map<TopicPartition, Long> ends, long events, long cold, String kind) {}

    private static void measure(Admin admin, Names names, Measured what, Counters counters) throws Exception {
        var streams = new KafkaStreams(what.topology(), config(what.bootstrap(), names, what.state()));
        streams.setUncaughtExceptionHandler(e -> {
            e.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        var start = Instant.now();
        streams.start();
        try {
            while (counters.events.sum() < what.cold()) {
                pause(streams, start);
            }
            var warm = Instant.now();
            var warmEvents = counters.events.sum();
            while (counters.events.sum() < what.events()) {
                pause(streams, start);
            }
            var done = caughtUp(admin, names, what.ends(), counters, () -> pause(streams, start));
            print("Kafka Streams, " + what.kind() + ", cold", warmEvents, start, warm);
            if (what.events() > warmEvents) {
                print("Kafka Streams, " + what.kind() + ", steady", what.events() - warmEvents, warm, done);
            }
            print("Kafka Streams, " + what.kind() + ", whole run", what.events(), start, done);
            if (counters.events.sum() != what.events()) {
                throw new IllegalStateException(counters.events.sum() + " events were rated, of " + what.events() + ": some twice");
            }
        } finally {
            streams.close(Duration.ofMinutes(1));
        }
    }

    private interface Wait {
        void pause() throws Exception;
    }

    /**
     * Waits until the application has committed every event and nothing more comes out of it; when the last change was seen. What the
     * waiting itself costs afterwards is not in it.
     */
    private static Instant caughtUp(Admin admin, Names names, Map<TopicPartition, Long> ends, Counters counters, Wait wait) throws Exception {
        var seen = Map.<TopicPartition, Long>of();
        var last = Instant.now();
        while (true) {
            var written = Map.<TopicPartition, Long>of();
            var isDone = false;
            try {
                written = offsets(admin, names.accounts(), ends.size(), OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED);
                var readable = offsets(admin, names.accounts(), ends.size(), OffsetSpec.latest(), IsolationLevel.READ_COMMITTED);
                isDone = isCommitted(admin, names, ends) && written.equals(readable) && counters.sent.sum() == counters.received.sum();
            } catch (ExecutionException e) {
                if (!(e.getCause() instanceof RetriableException)) {
                    throw e;
                }
            }
            if (!isDone || !written.equals(seen)) {
                last = Instant.now();
            } else if (System.nanoTime() - last.nanos() > QUIET.toNanos()) {
                return last;
            }
            seen = written;
            wait.pause();
        }
    }

    /** Whether the group's lag is 0. */
    private static boolean isCommitted(Admin admin, Names names, Map<TopicPartition, Long> ends) throws Exception {
        var committed = admin.listConsumerGroupOffsets(names.application()).partitionsToOffsetAndMetadata().get();
        return ends.entrySet().stream()
            .allMatch(end -> committed.get(end.getKey()) != null && committed.get(end.getKey()).offset() == end.getValue());
    }

    private static void pause(KafkaStreams streams, Instant start) throws InterruptedException {
        if (streams.state() == KafkaStreams.State.ERROR || streams.state() == KafkaStreams.State.PENDING_ERROR) {
            throw new IllegalStateException("the Streams application has stopped; its error is above");
        }
        if (System.nanoTime() - start.nanos() > LIMIT.toNanos()) {
            throw new IllegalStateException("not caught up after " + LIMIT.toMinutes() + " minutes");
        }
        Thread.sleep(200);
    }

    private static Properties config(String bootstrap, Names names, Path state) {
        var config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, names.application());
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, COMMIT_INTERVAL.toMillis());
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, THREADS);
        config.put(StreamsConfig.STATE_DIR_CONFIG, state.toString());
        // No account is pushed out of the cache between commits.
        config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, CACHE_BYTES);
        config.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
        config.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        config.put(StreamsConfig.consumerPrefix("max.poll.records"), 10_000);
        config.put(StreamsConfig.consumerPrefix("max.partition.fetch.bytes"), 4 << 20);
        config.put(StreamsConfig.producerPrefix("compression.type"), "lz4");
        config.put(StreamsConfig.producerPrefix("batch.size"), 1 << 20);
        config.put(StreamsConfig.producerPrefix("buffer.memory"), 256L << 20);
        // Longer than the commit interval, as Streams requires.
        config.put(StreamsConfig.producerPrefix("transaction.timeout.ms"), 300_000);
        return config;
    }

    /** Folds the same records by a plain consumer and compares every account. */
    private static boolean check(String bootstrap, Names names, int partitions, Map<TopicPartition, Long> starts,
            Map<TopicPartition, Long> ends, long events) throws Exception {
        var usage = new Usage();
        var wanted = new HashMap<Bytes, Totals>();
        var seen = new long[1];
        var start = Instant.now();
        readAll(bootstrap, ends, (key, value) -> {
            usage.read(value);
            seen[0]++;
            wanted.computeIfAbsent(Bytes.wrap(Names.user(Names.bytes(usage.user))), id -> new Totals()).add(usage.ofUser);
            if (usage.provider != null) {
                wanted.computeIfAbsent(Bytes.wrap(Names.provider(Names.bytes(usage.provider))), id -> new Totals()).add(usage.ofProvider);
            }
        });
        print("plain Java consumer, same fold, one thread", seen[0], start, Instant.now());
        var found = new HashMap<Bytes, byte[]>();
        try (var admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            var readable = offsets(admin, names.accounts(), partitions, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED);
            readAll(bootstrap, readable, (key, value) -> found.put(Bytes.wrap(key), value));
        }
        var byStreams = sums(found);
        var byPlain = sums(wanted.entrySet().stream().collect(Collectors.toMap(Map.Entry::getKey, e -> e.getValue().toBytes())));
        System.out.printf("folded by Kafka Streams: %s%n", byStreams);
        System.out.printf("folded by one thread:    %s%n", byPlain);
        Set<Bytes> all = new HashSet<>(wanted.keySet());
        all.addAll(found.keySet());
        var different = all.stream().filter(id -> !wanted.containsKey(id) || !java.util.Arrays.equals(wanted.get(id).toBytes(), found.get(id))).count();
        var isRight = different == 0 && seen[0] == events && byStreams.equals(byPlain);
        System.out.println(isRight
            ? "check: all %,d accounts are equal".formatted(all.size())
            : "check FAILED: %,d of %,d accounts differ; %,d of %,d events read".formatted(different, all.size(), seen[0], events));
        return isRight;
    }

    private record Sums(long events, long userPoints, long providerPoints, long cost, int users, int providers) {
        @Override
        public String toString() {
            return "%,d events of %,d users and %,d providers; points of users %.6f, of providers %.6f; charged $%.9f".formatted(
                events, users, providers, userPoints / 1e6, providerPoints / 1e6, cost / 1e9);
        }
    }

    private static Sums sums(Map<Bytes, byte[]> accounts) {
        var ofUsers = new Totals();
        var ofProviders = new Totals();
        var users = 0;
        for (var account : accounts.entrySet()) {
            var isUser = account.getKey().get()[0] == 'u';
            users += isUser ? 1 : 0;
            (isUser ? ofUsers : ofProviders).add(account.getValue(), 0);
        }
        return new Sums(ofUsers.requests, ofUsers.points, ofProviders.points, ofUsers.cost, users, accounts.size() - users);
    }

    private interface Take {
        void take(byte[] key, byte[] value);
    }

    /** Reads what is committed before these offsets, from the beginning. */
    private static void readAll(String bootstrap, Map<TopicPartition, Long> ends, Take take) {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", bootstrap, "isolation.level", "read_committed", "enable.auto.commit", false, "max.poll.records", 10_000,
            "max.partition.fetch.bytes", 4 << 20);
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(ends.keySet());
            consumer.seekToBeginning(ends.keySet());
            while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    if (record.offset() < ends.get(new TopicPartition(record.topic(), record.partition()))) {
                        take.take(record.key(), record.value());
                    }
                }
            }
        }
    }

    private static Map<TopicPartition, Long> offsets(Admin admin, String topic, int partitions, OffsetSpec which, IsolationLevel isolation)
            throws Exception {
        var wanted = IntStream.range(0, partitions).boxed().collect(Collectors.toMap(n -> new TopicPartition(topic, n), n -> which));
        var found = admin.listOffsets(wanted, new ListOffsetsOptions(isolation)).all().get();
        return found.entrySet().stream().collect(Collectors.toMap(Map.Entry::getKey, e -> e.getValue().offset()));
    }

    private static long sum(Map<TopicPartition, Long> offsets) {
        return offsets.values().stream().mapToLong(Long::longValue).sum();
    }

    /** In the form of benches/kafka.rs, without its ratios. */
    private static void print(String what, long events, Instant from, Instant to) {
        var cpu = (to.cpuNanos() - from.cpuNanos()) / 1e9;
        var time = (to.nanos() - from.nanos()) / 1e9;
        System.out.printf("%-44s %9.0f events/CPU-s   %9.0f events/s   (%,d events, %.1f CPU-s, %.1f s)%n", what, events / cpu, events / time, events,
            cpu, time);
    }

    /** Deletes the topics of this run. The broker deletes its group itself, when its members have expired. */
    private static void forget(Admin admin, Names names) throws Exception {
        var ours = admin.listTopics().names().get().stream().filter(name -> name.startsWith(names.application())).toList();
        admin.deleteTopics(ours).all().get();
    }

    private static void delete(Path directory) throws Exception {
        try (var files = Files.walk(directory)) {
            for (var file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        }
    }
}
