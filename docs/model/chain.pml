/* chain: routers lose batches, die, restart from their commit; retention runs ahead of them.

   Claim SAFE (I2, I6).  Evidence time of the gate never passes a bad value that was not delivered to the governor.
   Claim ONCE.  A bad value is judged once, however often it is routed.
   Claim LIVE (nothing good is lost).  When a router has routed everything and nothing was truncated, both evidence partitions are
   covered up to the last mark, without an operator.

   One front-door partition, two evidence partitions: A (the gate's) and B. A record is a mark (written to both), a bad value (for A)
   or a reading for B. What is not for a partition is not written there before the next mark; `previous` is kept for each.

   Mechanisms, each with the switch that takes it away:
     OFF_CHAIN        a run that starts beyond what is covered is refused.              Off: it is taken.
     OFF_STOP         a batch that is lost stops the router (successor: from the commit).  Off: it goes on with the next.
     OFF_ONE_BATCH    one batch under way for an evidence partition.                    Off: two; the later may land alone.
     OFF_ACKED        a position is committed when all before it is acknowledged.       Off: when it is sent.
     OFF_BOTH         acknowledged in every evidence partition.                         Off: in A alone.
     OFF_AT_MARK      only the end of a mark is committed.                              Off: any position.
     OFF_HONEST       after truncation `previous` is where fetching began.              Off: where the last run ended.
     OFF_SKIP         what is covered already is skipped, reading by reading.           Off: a run that brings news counts whole.
   OFF_ONE_BATCH alone keeps all claims (the chain refuses, the restart heals); with OFF_CHAIN it does not.

   Abstraction: the log is made up first; the governor judges at once (see routing.pml). A lost batch is lost for good, a landed one
   may lose its acknowledgement. Limits: one bad value, one truncation, FAILS losses or kills. */
#ifndef F
#define F 5
#endif
#ifndef TMAX
#define TMAX 3
#endif
#ifndef FAILS
#define FAILS 2
#endif
#ifndef ROUTERS
#define ROUTERS 1
#endif
#define MARK 1
#define BAD 2
#define FOR_B 3
#define A 0
#define B 1
byte kind[F], at[F];
bool anyBad = false; byte badAt = 0, badPlace = 0, judged = 0;
byte start = 0;                            /* retention: what stands before is gone */
byte covered[2], mark = 0, fails = 0;
hidden byte q, pr, up, fr;              /* a run on its way into land(): previous, upto, fetched from */

inline land(p) {                           /* the governor of evidence partition p reads a run */
  if
#ifdef OFF_CHAIN
  :: up > covered[p] ->
#else
  :: up > covered[p] && pr <= covered[p] ->
#endif
       if
#ifdef OFF_SKIP
       :: p == A && anyBad && badPlace >= fr && badPlace < up -> judged++
#else
       :: p == A && anyBad && badPlace >= fr && badPlace < up && badPlace >= covered[A] -> judged++
#endif
       :: else
       fi;
       covered[p] = up;
       if :: p == A && kind[up-1] == MARK && at[up-1] > mark -> mark = at[up-1] :: else fi
  :: else
  fi;
  assert(judged <= 1);                                           /* ONCE */
  assert(!anyBad || judged > 0 || mark <= badAt);                /* SAFE */
  pr = 0; up = 0; fr = 0
}
typedef Batch { bool used; byte previous; byte upto; byte fetched };

inline send(p) {
  if
  :: !way[p].used -> way[p].used = true; way[p].previous = previous[p]; way[p].upto = next + 1; way[p].fetched = fetched[p]
#ifdef OFF_ONE_BATCH
  :: else -> second.used = true; second.previous = previous[p]; second.upto = next + 1; second.fetched = fetched[p]
#else
  :: else -> assert(false)
#endif
  fi;
  previous[p] = next + 1; fetched[p] = next + 1
}
inline forget(p) { way[p].used = false; way[p].previous = 0; way[p].upto = 0; way[p].fetched = 0 }
inline restart() {
  forget(A); forget(B);
#ifdef OFF_ONE_BATCH
  second.used = false; second.previous = 0; second.upto = 0; second.fetched = 0;
#endif
  next = commit; previous[A] = commit; previous[B] = commit; fetched[A] = commit; fetched[B] = commit; last = commit
}

#ifdef OFF_ONE_BATCH
#define FREE(p) (!way[p].used || (p == A && !second.used))
#define IDLE_A (!way[A].used && !second.used)
#else
#define FREE(p) (!way[p].used)
#define IDLE_A (!way[A].used)
#endif
#ifdef OFF_ACKED
#define ACKED true
#else
#ifdef OFF_BOTH
#define ACKED IDLE_A
#else
#define ACKED (IDLE_A && !way[B].used)
#endif
#endif
#ifdef OFF_AT_MARK
#define COMMITTABLE next
#else
#define COMMITTABLE last                   /* the end of the last mark sent */
#endif

proctype Router() {
  byte next = 0, commit = 0, last = 0; byte previous[2], fetched[2]; Batch way[2];
#ifdef OFF_ONE_BATCH
  Batch second;
#endif
  end: do
  :: atomic { next < start -> next = start;                      /* out of range: fetching begins at the earliest */
#ifdef OFF_HONEST
       fetched[A] = start; fetched[B] = start
#else
       previous[A] = start; previous[B] = start; fetched[A] = start; fetched[B] = start
#endif
     }
  :: atomic { next >= start && next < F && kind[next] == MARK && FREE(A) && FREE(B) -> send(A); send(B); next++; last = next }
  :: atomic { next >= start && next < F && kind[next] == BAD && FREE(A) -> send(A); next++ }
  :: atomic { next >= start && next < F && kind[next] == BAD -> next++ }      /* it waits, and goes with what comes next */
  :: atomic { next >= start && next < F && kind[next] == FOR_B && FREE(B) -> send(B); next++ }
  :: atomic { way[A].used -> pr = way[A].previous; up = way[A].upto; fr = way[A].fetched; land(A);
#ifdef OFF_ONE_BATCH
       way[A].used = second.used; way[A].previous = second.previous; way[A].upto = second.upto; way[A].fetched = second.fetched;
       second.used = false; second.previous = 0; second.upto = 0; second.fetched = 0
#else
       forget(A)
#endif
     }
  :: atomic { way[B].used -> pr = way[B].previous; up = way[B].upto; fr = way[B].fetched; land(B); forget(B) }
  :: atomic { fails < FAILS && way[A].used -> fails++;           /* A's batch is lost (a second one lands all the same) */
#ifdef OFF_ONE_BATCH
       if :: second.used -> pr = second.previous; up = second.upto; fr = second.fetched; land(A); second.used = false; second.previous = 0;
            second.upto = 0; second.fetched = 0 :: else fi;
#endif
       forget(A);
#ifndef OFF_STOP
       restart()
#endif
     }
  :: atomic { fails < FAILS && way[B].used -> fails++; forget(B);
#ifndef OFF_STOP
       restart()
#endif
     }
  :: atomic { fails < FAILS -> fails++; restart() }              /* killed; what was under way is lost, or landed before */
  :: atomic { commit != COMMITTABLE && ACKED -> commit = COMMITTABLE }
  :: atomic { next == F && !way[A].used && !way[B].used ->
#ifndef SAFE_ONLY
       q = F; do :: q > 0 && kind[q-1] != MARK -> q-- :: else -> break od;
       assert(start > 0 || (covered[A] >= q && covered[B] >= q));                          /* LIVE */
       q = 0;
#endif
       break }
  od
}
proctype Retention() {
  atomic { byte to = 1; do :: to < F -> to++ :: true -> break od; start = to; to = 0 }
}
init {
  atomic {
    byte i = 0, t = 1;
    do
    :: i < F ->
         if :: t < TMAX -> t++ :: true fi;
         at[i] = t;
         if
         :: kind[i] = MARK
         :: !anyBad -> kind[i] = BAD; anyBad = true; badAt = t; badPlace = i
         :: kind[i] = FOR_B
         fi; i++
    :: else -> break
    od; t = 0;
    i = 0; do :: i < ROUTERS -> run Router(); i++ :: else -> break od;
#ifdef TRUNCATED
    run Retention()
#endif
  }
}
