package compare;

import java.util.concurrent.atomic.LongAdder;

/** How far the job is, for the one who measures it. */
final class Counters {
    /** Events rated. */
    final LongAdder events = new LongAdder();
    /** Records sent on to the providers' partitions, and taken there. */
    final LongAdder sent = new LongAdder();
    final LongAdder received = new LongAdder();
}
