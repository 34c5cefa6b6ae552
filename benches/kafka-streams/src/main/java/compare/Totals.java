package compare;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/** What an account has: sums over its events. */
final class Totals {
    private static final VarHandle LONGS = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.BIG_ENDIAN);

    /** Length of the binary form. */
    static final int BYTES = 7 * Long.BYTES;

    long requests;
    long successful;
    long failed;
    /** Micropoints. */
    long points;
    /** Of successful requests. */
    long latencyMs;
    long targetMs;
    /** Nano-dollars. */
    long cost;

    void add(Totals other) {
        requests += other.requests;
        successful += other.successful;
        failed += other.failed;
        points += other.points;
        latencyMs += other.latencyMs;
        targetMs += other.targetMs;
        cost += other.cost;
    }

    /** Adds totals in their binary form. */
    void add(byte[] bytes, int at) {
        requests += (long) LONGS.get(bytes, at);
        successful += (long) LONGS.get(bytes, at + 8);
        failed += (long) LONGS.get(bytes, at + 16);
        points += (long) LONGS.get(bytes, at + 24);
        latencyMs += (long) LONGS.get(bytes, at + 32);
        targetMs += (long) LONGS.get(bytes, at + 40);
        cost += (long) LONGS.get(bytes, at + 48);
    }

    void clear() {
        requests = successful = failed = points = latencyMs = targetMs = cost = 0;
    }

    /** Writes the binary form. */
    void write(byte[] bytes, int at) {
        LONGS.set(bytes, at, requests);
        LONGS.set(bytes, at + 8, successful);
        LONGS.set(bytes, at + 16, failed);
        LONGS.set(bytes, at + 24, points);
        LONGS.set(bytes, at + 32, latencyMs);
        LONGS.set(bytes, at + 40, targetMs);
        LONGS.set(bytes, at + 48, cost);
    }

    byte[] toBytes() {
        var bytes = new byte[BYTES];
        write(bytes, 0);
        return bytes;
    }

    /** The binary form of this plus what another one says; null is nothing. */
    byte[] plus(byte[] other) {
        var bytes = toBytes();
        if (other != null) {
            for (var at = 0; at < BYTES; at += Long.BYTES) {
                LONGS.set(bytes, at, (long) LONGS.get(bytes, at) + (long) LONGS.get(other, at));
            }
        }
        return bytes;
    }
}
