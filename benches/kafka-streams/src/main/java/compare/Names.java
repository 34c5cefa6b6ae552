package compare;

import java.nio.charset.StandardCharsets;

/** Topics of one run, and the keys of its output. */
record Names(String events, String application) {
    /** Totals of accounts, compacted; the last record of an account counts. */
    String accounts() {
        return application + "-accounts";
    }

    /** What the folding job sends to the providers' partitions. */
    String parts() {
        return application + "-parts";
    }

    static byte[] user(byte[] id) {
        return prefixed('u', id);
    }

    static byte[] provider(byte[] id) {
        return prefixed('p', id);
    }

    private static byte[] prefixed(char prefix, byte[] id) {
        var key = new byte[id.length + 1];
        key[0] = (byte) prefix;
        System.arraycopy(id, 0, key, 1, id.length);
        return key;
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
