/* proving: a reset is taken, probes are spent from a fleet-wide budget, outcomes arm the breaker or the deadline ends it.

   Claim BUDGET.  At most PROBES executions take place under the epoch of one PROVING, however many governors write its tokens,
   unless the store is flushed (-DFLUSH: then at most PROBES for each governor; -DASK_TOO_MUCH asks for PROBES all the same).
   Claim (I7).    The breaker is armed only by PROBES different probes of this PROVING, not by an older one's, not by one told twice.
   Claim (I10).   Nor by one that nobody carried out: whoever knows the epoch may write outcomes where he can, in the store or in
                  telemetry (the same assertion).
   Claim ENDS.    PROVING does not outlast its deadline, though tokens or outcomes are lost.

   Mechanisms, each with the switch that takes it away:
     OFF_ONCE          tokens are written once for an epoch (the store remembers the epoch they were written for).
                       Off: whenever a governor comes to the record; a standby some records behind issues them again.
     OFF_FENCE         tokens of an epoch below the one remembered are refused.      Off: of any other epoch are taken.
     OFF_OUTCOME_EPOCH an outcome counts only with this PROVING's epoch.             Off: any outcome counts.
     OFF_TOKEN_ONCE    an outcome counts once for its token.                         Off: as often as it is told.
     OFF_MAC           a token is keyed by the monitor, and the mover checks it.       Off: EPOCH:0, EPOCH:1 are taken.
     OFF_INTERNAL      outcomes count from a topic that Failshut alone writes.       Off: from telemetry as well.
     OFF_DEADLINE      a mark past the deadline puts PROVING back to TRIPPED.        Off: it waits for outcomes.

   Abstraction: the log is TRIPPED at first and grows: RESET (an operator's, naming this closing), OUTCOME, DEADLINE (a mark past
   the deadline). A token carries its epoch and number, tokens are taken in order; a guard holds its permit's epoch and takes a
   token of that epoch or withholds. Executions end when they end; an outcome may be moved into the log twice, or never. Guards
   find PROVING permits in the store as permit.pml says. Limits: all probes succeed (one that fails or is interrupted trips); one guard
   per execution. */
#ifndef PROBES
#define PROBES 2
#endif
#ifndef N
#define N 6
#endif
#define RESET 1
#define OUTCOME 2
#define DEADLINE 3
#define TRIPPED 0
#define PROVING 1
#define ARMED 2
byte kind[N], about[N], token[N], n = 0;   /* the log: what, the epoch that it names, the token */
byte forged[N]; bool hasForged = false;    /* who says an outcome: a guard (0), a forger in the store (1) or in telemetry (2) */
byte resets = 0;                           /* PROVINGs are numbered 1 and 2: short names for their epochs */
byte tokens = 0, tokensOf = 0, probed = 0; /* store: how many are left, whose they are, the epoch remembered */
byte running[3], executed[3];              /* truth by PROVING: bits of tokens whose execution ended, and executions */
byte leadEpoch = 0, leadState = TRIPPED;   /* the permit in the store is the leading governor's */
bool flushed = false;
#if defined(FLUSH) && !defined(ASK_TOO_MUCH)
#define BUDGET (flushed -> 2 * PROBES : PROBES)
#else
#define BUDGET PROBES
#endif

#ifdef OFF_OUTCOME_EPOCH
#define THIS_PROVING true
#else
#define THIS_PROVING (about[pos] == mine)
#endif
#ifdef OFF_TOKEN_ONCE
#define NEW_TOKEN true
#else
#define NEW_TOKEN (!(counted & (1 << token[pos])))
#endif
#ifdef OFF_MAC
#define FORGED_IN_STORE true
#else
#define FORGED_IN_STORE false
#endif
#ifdef OFF_INTERNAL
#define FORGED_IN_TELEMETRY true
#else
#define FORGED_IN_TELEMETRY false
#endif
#define BELIEVED (forged[pos] == 0 || (forged[pos] == 1 && FORGED_IN_STORE) || (forged[pos] == 2 && FORGED_IN_TELEMETRY))
proctype Governor() {
  byte pos = 0, state = TRIPPED, mine = 0, good = 0, counted = 0; bool toWrite = false;
  end: do
  :: atomic { !toWrite && pos < n ->
       if
       :: kind[pos] == RESET && state == TRIPPED -> state = PROVING; mine = about[pos]; good = 0; counted = 0; toWrite = true
       :: kind[pos] == OUTCOME && state == PROVING && BELIEVED && THIS_PROVING && NEW_TOKEN ->
            good++; counted = counted | (1 << token[pos]);
            if
            :: good == PROBES -> state = ARMED; good = 0; counted = 0;
                 assert(running[mine] == (1 << PROBES) - 1)                              /* I7, I10 */
            :: else
            fi
#ifndef OFF_DEADLINE
       :: kind[pos] == DEADLINE && state == PROVING && about[pos] == mine -> state = TRIPPED; good = 0; counted = 0
#endif
       :: else
       fi;
       pos++;
       assert(!(pos == n && n > 0 && kind[n-1] == DEADLINE && state == PROVING && about[n-1] == mine));   /* ENDS */
       if :: mine > leadEpoch || (mine == leadEpoch && state != PROVING) -> leadEpoch = mine; leadState = state :: else fi }
  :: atomic { toWrite -> toWrite = false;
       if
#ifdef OFF_ONCE
       :: mine >= probed ->
#else
#ifdef OFF_FENCE
       :: mine != probed ->
#else
       :: mine > probed ->
#endif
#endif
            tokens = PROBES; tokensOf = mine; probed = mine
       :: else
       fi }
  od
}
active proctype World() {
  byte e = 0;
  atomic { run Governor(); run Governor() }
  end: do
  :: atomic { n < N && resets < 2 && leadState == TRIPPED && leadEpoch == resets -> resets++; kind[n] = RESET; about[n] = resets; n++ }
  :: atomic { n < N && leadState == PROVING -> kind[n] = DEADLINE; about[n] = leadEpoch; n++ }
  :: atomic { leadState == PROVING && tokens > 0 && tokensOf == leadEpoch ->            /* an execution starts */
       tokens--; executed[tokensOf]++;
       assert(executed[tokensOf] <= BUDGET) }                                            /* BUDGET */
  :: atomic { n < N -> if :: e = 1 :: e = 2 fi;                                          /* one ends and is told */
       if
       :: executed[e] >= 1 -> token[n] = 0; running[e] = running[e] | 1; kind[n] = OUTCOME; about[n] = e; n++
       :: executed[e] >= 2 -> token[n] = 1; running[e] = running[e] | 2; kind[n] = OUTCOME; about[n] = e; n++
       :: else
       fi; e = 0 }
  :: atomic { n < N && !hasForged && leadState == PROVING ->        /* the epoch is known to all; one forgery is one too many */
       if :: forged[n] = 1 :: forged[n] = 2 fi;
       if :: token[n] = 0 :: token[n] = 1 fi;
       kind[n] = OUTCOME; about[n] = leadEpoch; hasForged = true; n++ }
#ifdef FLUSH
  :: atomic { !flushed && probed > 0 -> flushed = true; tokens = 0; tokensOf = 0; probed = 0 }
#endif
  od
}
