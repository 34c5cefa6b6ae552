package compare;

import java.time.Instant;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The same kind of events as benches/load/mod.rs makes, for runs of the Streams job by itself. */
final class Load {
    private static final int USERS = 1_000_000;
    private static final int PROVIDERS = 10_000;
    private static final String[] MODELS = {
        "llama-3-8b", "meta-llama/Llama-3-70B", "gpt-4o-mini", "mistral-7b-instruct", "qwen2.5-32b", "gemma-2b",
    };

    private Load() {}

    /** Writes passes of events; every pass has the same users and providers. */
    static void fill(String bootstrap, String topic, int events, int passes) {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", bootstrap, "compression.type", "lz4", "linger.ms", "20", "batch.size", "1048576",
            "buffer.memory", "134217728");
        var failure = new AtomicReference<Exception>();
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (var pass = 0; pass < passes; pass++) {
                var draws = new SplittableRandom(1);
                var rest = new SplittableRandom(2 + pass);
                var users = zipf(USERS, 1.1);
                var providers = zipf(PROVIDERS, 1.05);
                for (var n = 0; n < events; n++) {
                    var user = "user-%07d".formatted(draw(users, draws));
                    var provider = "prov-%05d".formatted(draw(providers, draws));
                    var event = event(user, provider, (long) pass * events + n, rest);
                    producer.send(new ProducerRecord<>(topic, user.getBytes(), event.getBytes()), (sent, e) -> {
                        if (e != null) {
                            failure.set(e);
                        }
                    });
                }
            }
            producer.flush();
        }
        if (failure.get() != null) {
            throw new IllegalStateException("Kafka did not take an event", failure.get());
        }
    }

    private static String event(String user, String provider, long id, SplittableRandom random) {
        var status = random.nextInt(50) == 0 ? 503 : 200;
        return ("{\"specversion\":\"1.0\",\"type\":\"tidemark.usage.v1\",\"source\":\"gateway-eu-1\",\"id\":\"018f3c1e-7a2b-%012x\","
            + "\"time\":\"%s\",\"subject\":\"%s\",\"data\":{\"providerId\":\"%s\",\"endpoint\":\"/v1/chat/completions\",\"model\":\"%s\","
            + "\"statusCode\":%d,\"latencyMs\":%d,\"inputTokens\":%d,\"outputTokens\":%d,\"requestBytes\":812,\"responseBytes\":1490,"
            + "\"stream\":false}}").formatted(
            id, Instant.ofEpochMilli(System.currentTimeMillis()), user, provider, MODELS[random.nextInt(MODELS.length)], status,
            random.nextInt(50, 4_000), random.nextInt(1, 3_000), random.nextInt(1, 900));
    }

    /** Cumulated weights of Zipf's law. */
    private static double[] zipf(int count, double exponent) {
        var sums = new double[count];
        var sum = 0.0;
        for (var rank = 1; rank <= count; rank++) {
            sum += 1 / Math.pow(rank, exponent);
            sums[rank - 1] = sum;
        }
        return sums;
    }

    private static int draw(double[] sums, SplittableRandom random) {
        var at = random.nextDouble() * sums[sums.length - 1];
        var found = java.util.Arrays.binarySearch(sums, at);
        return (found < 0 ? -found - 1 : found) + 1;
    }
}
