/* permit: one gate, one store, one guard, two governors over the same evidence.

   Claim (I2, I4, I6).  After a bad value stands in its topic, no execution starts later than its time + TTL, whichever process
   stalls and wherever; and once a closing stands in the store, no permit that is not newer is ever put back (unless the store is
   flushed, when only the first half holds).

   Mechanisms, each with the switch that takes it away:
     OFF_EVIDENCE_EXP   exp = evidence time + TTL.                       Off: exp = wall clock of the signing governor + TTL.
     OFF_SWAP           every write compares (epoch, offset) and swaps.  Off: the last writer wins.
     OFF_STAYS          a closing is a record that stays.                Off: a closing deletes the record and its fence.
     OFF_GUARD_EPOCH    a guard refuses an epoch below one it has seen.  Off: it takes what it reads.
     OFF_FINAL_STATE    a record leads to one write, its final state.    Off: one write for each step.
     OFF_TIE            at the same (epoch, offset) a closing wins.      Off: whoever writes last wins.
   The last two stand in for each other: either alone keeps the claim, neither does not.
   OFF_RENEW_RULE writes a permit at every record, not only when evidence time advanced: safe as well (the rule saves writes).

   Abstraction.  The log is made up first, with append times, and is seen once its time has come; "routed" is how far the router
   has got, so a stalled router is one that takes no step.  One record is one reading or one mark, or LAPSE: a mark followed by a
   lapse in one run, the case of two decisions in one record.  A write may arrive any time after it was decided, and more than
   once (failed but applied, then tried again).  The second governor is the first one some records behind: a hot standby, a zombie,
   or a restart from a snapshot.  A push may be lost: it is a step that need not be taken.
   Limits: one clock (tolerance is zero), one bad value, one reset, one flush. */
#ifndef TTL
#define TTL 1
#endif
#ifndef TMAX
#define TMAX 3
#endif
#ifndef N
#define N 4
#endif
#define MARK 1
#define BAD 2
#define RESET 3
#define LAPSE 4

byte kind[N], at[N];                       /* the evidence log: what, and when it entered the front door */
byte routed = 0, now = 0;
bool answered = false;                     /* the reset has reached the governors: the bad value no longer binds */
bool anyBad = false; byte badAt = 0;

bool held = false, open = false;           /* the store: a record is held; it is a permit, not a closing */
byte epoch = 0, offset = 0, expires = 0;
bool flushed = false;
byte lastEpoch = 0, lastOffset = 0;        /* the newest closing that ever stood in the store */

#ifdef OFF_SWAP
#define MAY_WRITE(isPermit, e, o) true
#else
#ifdef OFF_TIE
#define MAY_WRITE(isPermit, e, o) (!held || e > epoch || (e == epoch && o >= offset))
#else
#define MAY_WRITE(isPermit, e, o) (!held || e > epoch || (e == epoch && (o > offset || (o == offset && (!isPermit || open)))))
#endif
#endif

inline write(isPermit, e, o, x) {
  if
  :: MAY_WRITE(isPermit, e, o) ->
       if
       :: isPermit -> held = true; open = true; epoch = e; offset = o; expires = x;
            /* I4: old authority never wins */
            assert(flushed || e > lastEpoch || (e == lastEpoch && o > lastOffset))
       :: else ->
#ifdef OFF_STAYS
            held = false; open = false; epoch = 0; offset = 0; expires = 0;
#else
            held = true; open = false; epoch = e; offset = o; expires = 0;
#endif
            if :: e > lastEpoch || (e == lastEpoch && o > lastOffset) -> lastEpoch = e; lastOffset = o :: else fi
       fi
  :: else
  fi
}

proctype Governor() {
  byte pos = 0, mine = 1, evidence = 0, renewed = 0;
  bool tripped = false, lapsed = false;
  byte todo = 0;                           /* writes under way: 1 one, 2 a permit and then a closing */
  bool isPermit = false; byte e = 0, o = 0, x = 0;
  end: do
  :: atomic { todo == 0 && pos < routed ->
       if
       :: kind[pos] == BAD -> tripped = true; mine = pos + 2; todo = 1; isPermit = false; e = mine; o = pos + 1; x = 0
       :: kind[pos] == RESET -> if :: tripped -> tripped = false; mine = pos + 2 :: else fi
       :: kind[pos] == LAPSE && !tripped -> lapsed = true; evidence = at[pos]; renewed = 0;
#ifdef OFF_FINAL_STATE
            todo = 2; isPermit = true; e = mine; o = pos + 1; x = evidence + TTL
#else
            todo = 1; isPermit = false; e = mine; o = pos + 1; x = 0
#endif
       :: kind[pos] == LAPSE && tripped -> evidence = at[pos]
       :: kind[pos] == MARK -> evidence = at[pos]; lapsed = false;
            if
#ifdef OFF_RENEW_RULE
            :: !tripped ->
#else
            :: !tripped && evidence > renewed -> renewed = evidence;
#endif
                 todo = 1; isPermit = true; e = mine; o = pos + 1;
#ifdef OFF_EVIDENCE_EXP
                 x = now + TTL
#else
                 x = evidence + TTL
#endif
            :: else
            fi
       fi; pos++ }
  :: atomic { todo > 0 -> write(isPermit, e, o, x);
       if
       :: todo == 2 -> todo = 1; isPermit = false; x = 0
       :: todo == 1 -> todo = 0; isPermit = false; e = 0; o = 0; x = 0
       :: true                             /* the answer was lost: it will be written again */
       fi }
  od
}

proctype Guard() {
  byte lease = 0, mine = 0, seen = 0; bool may = false, asked = false, rOpen = false; byte rEpoch = 0, rExpires = 0;
  end: do
  :: atomic { !asked && held -> asked = true; rOpen = open; rEpoch = epoch; rExpires = expires }
  :: atomic { asked -> asked = false;      /* the answer arrives, perhaps late */
       if
#ifdef OFF_GUARD_EPOCH
       :: true ->
#else
       :: rEpoch >= seen ->
#endif
            if :: rEpoch > seen -> seen = rEpoch :: else fi;
            may = rOpen; lease = (rOpen -> rExpires : 0); mine = rEpoch
       :: else
       fi; rOpen = false; rEpoch = 0; rExpires = 0 }
  :: atomic { held && !open && epoch > seen -> seen = epoch; may = false; lease = 0 }   /* push of a closing */
  :: atomic { may && now < lease ->
       assert(!anyBad || answered || now <= badAt + TTL);       /* I2, I6 */
       assert(mine >= seen) }                                    /* I4 */
  :: atomic { may && now >= lease -> may = false; lease = 0 }
  od
}

proctype World() {
  end: do
  :: atomic { now < TMAX -> now++ }
  :: atomic { routed < N && at[routed] <= now -> if :: kind[routed] == RESET -> answered = true :: else fi; routed++ }
  :: atomic { !flushed && held -> flushed = true; held = false; open = false; epoch = 0; offset = 0; expires = 0 }
  od
}

init {
  atomic {
    byte i = 0, t = 0; bool anyReset = false;
    do
    :: i < N ->
         do :: t < TMAX -> t++ :: true -> break od;
         at[i] = t;
         if
         :: kind[i] = MARK
         :: !anyBad -> kind[i] = BAD; anyBad = true; badAt = t
         :: anyBad && !anyReset -> kind[i] = RESET; anyReset = true
         :: kind[i] = LAPSE
         fi; i++
    :: else -> break
    od; i = 0; t = 0; anyReset = false;
    run World(); run Governor(); run Governor(); run Guard()
  }
}
