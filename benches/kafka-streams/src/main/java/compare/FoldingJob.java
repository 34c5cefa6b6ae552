package compare;

import java.time.Duration;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The job as lean as Kafka Streams lets it be, with the Processor API: users are folded where their events are, and so are providers,
 * each partition for itself. Once per interval changed users go out, and the changed sums of providers go to the provider's own
 * partition, where those of all source partitions are added up.
 *
 * <p>Such a sum replaces the one before it, so it does not matter that what has changed is only known in memory: after a restart
 * everything counts as changed.
 */
final class FoldingJob {
    private static final String USERS = "users";
    private static final String PARTIAL = "providers-partial";
    private static final String PROVIDERS = "providers";
    private static final String TO_ACCOUNTS = "to-accounts";
    private static final String TO_PARTS = "to-parts";

    private FoldingJob() {}

    static Topology topology(Names names, int partitions, Duration interval, Counters counters) {
        var read = new ByteArrayDeserializer();
        var write = new ByteArraySerializer();
        ProcessorSupplier<byte[], byte[], byte[], byte[]> rate = () -> new Rate(interval, counters);
        ProcessorSupplier<byte[], byte[], byte[], byte[]> collect = () -> new Collect(interval, partitions, counters);
        return new Topology()
            .addSource("events", read, read, names.events())
            .addProcessor("rate", rate, "events")
            .addStateStore(store(USERS), "rate")
            .addStateStore(store(PARTIAL), "rate")
            .addSink(TO_PARTS, names.parts(), write, write, "rate")
            .addSource("parts", read, read, names.parts())
            .addProcessor("collect", collect, "parts")
            .addStateStore(store(PROVIDERS), "collect")
            .addSink(TO_ACCOUNTS, names.accounts(), write, write, "rate", "collect");
    }

    /** In memory, with a changelog; the cache keeps a changelog record per account and commit. */
    private static StoreBuilder<KeyValueStore<Bytes, byte[]>> store(String name) {
        return Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(name), Serdes.Bytes(), Serdes.ByteArray()).withCachingEnabled();
    }

    /** The accounts of a store that changed since they were last sent. */
    private static final class Changed {
        private final KeyValueStore<Bytes, byte[]> store;
        private final Set<Bytes> keys = new HashSet<>();

        Changed(ProcessorContext<byte[], byte[]> context, String name) {
            store = context.getStateStore(name);
            try (var all = store.all()) {
                all.forEachRemaining(entry -> keys.add(entry.key));
            }
        }

        void put(Bytes key, byte[] value) {
            store.put(key, value);
            keys.add(key);
        }

        void drain(java.util.function.BiConsumer<byte[], byte[]> send) {
            for (var key : keys) {
                send.accept(key.get(), store.get(key));
            }
            keys.clear();
        }
    }

    /** Rates the events of one partition. */
    private static final class Rate implements Processor<byte[], byte[], byte[], byte[]> {
        private final Duration interval;
        private final Counters counters;
        private final Usage usage = new Usage();
        private ProcessorContext<byte[], byte[]> context;
        private Changed users;
        private Changed partial;

        Rate(Duration interval, Counters counters) {
            this.interval = interval;
            this.counters = counters;
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            users = new Changed(context, USERS);
            partial = new Changed(context, PARTIAL);
            context.schedule(interval, PunctuationType.WALL_CLOCK_TIME, this::send);
        }

        @Override
        public void process(Record<byte[], byte[]> event) {
            usage.read(event.value());
            var user = Bytes.wrap(Names.bytes(usage.user));
            users.put(user, usage.ofUser.plus(users.store.get(user)));
            if (usage.provider != null) {
                var provider = Bytes.wrap(Names.bytes(usage.provider));
                partial.put(provider, usage.ofProvider.plus(partial.store.get(provider)));
            }
            counters.events.increment();
        }

        private void send(long now) {
            users.drain((id, totals) -> context.forward(new Record<>(Names.user(id), totals, now), TO_ACCOUNTS));
            var partition = (byte) context.taskId().partition();
            partial.drain((id, totals) -> {
                var part = Arrays.copyOf(totals, totals.length + 1);
                part[totals.length] = partition;
                counters.sent.increment();
                context.forward(new Record<>(id, part, now), TO_PARTS);
            });
        }
    }

    /** Adds up what the source partitions say of a provider. */
    private static final class Collect implements Processor<byte[], byte[], byte[], byte[]> {
        private final Duration interval;
        private final int partitions;
        private final Counters counters;
        private ProcessorContext<byte[], byte[]> context;
        private Changed providers;

        Collect(Duration interval, int partitions, Counters counters) {
            this.interval = interval;
            this.partitions = partitions;
            this.counters = counters;
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            providers = new Changed(context, PROVIDERS);
            context.schedule(interval, PunctuationType.WALL_CLOCK_TIME, this::send);
        }

        @Override
        public void process(Record<byte[], byte[]> part) {
            var key = Bytes.wrap(part.key());
            var known = providers.store.get(key);
            var sums = known == null ? new byte[partitions * Totals.BYTES] : known.clone();
            System.arraycopy(part.value(), 0, sums, part.value()[Totals.BYTES] * Totals.BYTES, Totals.BYTES);
            providers.put(key, sums);
            counters.received.increment();
        }

        private void send(long now) {
            var totals = new Totals();
            providers.drain((id, sums) -> {
                totals.clear();
                for (var at = 0; at < sums.length; at += Totals.BYTES) {
                    totals.add(sums, at);
                }
                context.forward(new Record<>(Names.provider(id), totals.toBytes(), now), TO_ACCOUNTS);
            });
        }
    }
}
