package compare;

import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.Stores;

/** The job as one writes it with the DSL: an aggregate by user, and one by provider, for which every event is sent to the provider's partition. */
final class DslJob {
    private DslJob() {}

    /** What an event adds. */
    private record Rated(byte[] provider, byte[] ofUser, byte[] ofProvider) {}

    static Topology topology(Names names, Counters counters) {
        Serde<byte[]> bytes = Serdes.ByteArray();
        var usages = ThreadLocal.withInitial(Usage::new);
        var builder = new StreamsBuilder();
        var rated = builder.stream(names.events(), Consumed.with(bytes, bytes)).mapValues(event -> {
            var usage = usages.get();
            usage.read(event);
            counters.events.increment();
            var provider = usage.provider == null ? null : Names.bytes(usage.provider);
            return new Rated(provider, usage.ofUser.toBytes(), usage.ofProvider.toBytes());
        });
        rated.mapValues(Rated::ofUser)
            .groupByKey(Grouped.with(bytes, bytes))
            .aggregate(() -> new byte[Totals.BYTES], (id, delta, totals) -> plus(delta, totals), inMemory("users"))
            .toStream()
            .selectKey((id, totals) -> Names.user(id))
            .to(names.accounts(), Produced.with(bytes, bytes));
        rated.filter((user, all) -> all.provider() != null)
            .map((user, all) -> {
                counters.sent.increment();
                return org.apache.kafka.streams.KeyValue.pair(all.provider(), all.ofProvider());
            })
            .groupByKey(Grouped.with("providers", bytes, bytes))
            .aggregate(() -> new byte[Totals.BYTES], (id, delta, totals) -> {
                counters.received.increment();
                return plus(delta, totals);
            }, inMemory("providers"))
            .toStream()
            .selectKey((id, totals) -> Names.provider(id))
            .to(names.accounts(), Produced.with(bytes, bytes));
        return builder.build();
    }

    private static byte[] plus(byte[] delta, byte[] totals) {
        var sum = new Totals();
        sum.add(delta, 0);
        return sum.plus(totals);
    }

    private static Materialized<byte[], byte[], org.apache.kafka.streams.state.KeyValueStore<org.apache.kafka.common.utils.Bytes, byte[]>> inMemory(
            String name) {
        return Materialized.<byte[], byte[]>as(Stores.inMemoryKeyValueStore(name)).withKeySerde(Serdes.ByteArray()).withValueSerde(Serdes.ByteArray())
            .withCachingEnabled();
    }
}
