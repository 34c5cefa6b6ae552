package compare;

import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;

/** What a successful chat request earns and costs, by the size of its model: the numbers of config/rules/mainnet.toml. */
enum Tier {
    TIDE_POOL(1, 1_000, 200_000, 400_000),
    BLUE_SURGE(3, 2_000, 500_000, 1_000_000),
    OPEN_OCEAN(7, 4_000, 1_500_000, 3_000_000),
    MARIANA_DEPTH(15, 8_000, 4_000_000, 8_000_000);

    private static final long MICROPOINTS_PER_POINT = 1_000_000;
    private static final long BASIS_POINTS = 10_000;
    private static final long USER_SHARE = 1_000;
    private static final long TOKENS_PER_UNIT = 1_000;
    private static final Pattern BILLIONS = Pattern.compile("(?:^|-)(\\d+(?:\\.\\d+)?)b(?:-|$)");

    /** Micropoints. */
    final long provider;
    /** Micropoints. */
    final long user;
    final long targetMs;
    /** Nano-dollars per 1,000 tokens. */
    private final long input;
    private final long output;

    Tier(long points, long targetMs, long input, long output) {
        this.provider = points * MICROPOINTS_PER_POINT;
        this.user = provider * USER_SHARE / BASIS_POINTS;
        this.targetMs = targetMs;
        this.input = input;
        this.output = output;
    }

    /** Nano-dollars, one floor for what went in and one for what came out. */
    long cost(long inputTokens, long outputTokens) {
        return inputTokens * input / TOKENS_PER_UNIT + outputTokens * output / TOKENS_PER_UNIT;
    }

    /** Remembers the tier of each model name. One per thread. */
    static final class Catalogue {
        private final Map<String, Tier> known = new HashMap<>();

        Tier of(String model) {
            return known.computeIfAbsent(model, Catalogue::find);
        }

        /** The few rules that the events of benches/load need. */
        private static Tier find(String model) {
            var name = model.substring(model.lastIndexOf('/') + 1).toLowerCase(Locale.ROOT);
            if (name.startsWith("gpt-4o-mini")) {
                return BLUE_SURGE;
            }
            var size = BILLIONS.matcher(name);
            if (!size.find()) {
                return TIDE_POOL;
            }
            var billions = Double.parseDouble(size.group(1));
            if (billions <= 4) {
                return TIDE_POOL;
            }
            if (billions <= 13) {
                return BLUE_SURGE;
            }
            return billions < 65 ? OPEN_OCEAN : MARIANA_DEPTH;
        }
    }
}
