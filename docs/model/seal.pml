/* seal: one gate, one evidence partition.  A permit is signed once for an epoch.  A seal says for one offset of the log which
   epoch is open and up to when evidence was judged, and renews that permit.  Record and seal are keys of their own.

   Claim (I2, I4, I6).  After a record at time t ended an epoch (a bad value, an edit, a new term), no execution starts under that
   epoch later than t + TTL, whichever process stalls and wherever, in whatever order record and seal are written, lost, repeated
   and read; and a guard never acts on an epoch below a closing that it has seen.

   Mechanisms, each with the switch that takes it away:
     OFF_EPOCH   a seal names (gate, epoch).                           Off: it names the gate.
     OFF_CUT     open set and time are of one offset.                  Off: the time is two records newer than the set.
     OFF_AFTER   a seal older than the permit renews nothing.          Off: it does, with its own time.
     OFF_OLDER   a guard refuses a seal older than the last one.       Off: it takes what it reads.
     OFF_SWAP    a seal is written by compare and swap on its offset.  Off: the last writer wins.
     OFF_TERM    the store keeps the newest term, and neither takes an older term's seal nor does a guard believe it.
                 Off: a governor that was left behind in an older term goes on renewing.
   Each of AFTER, OLDER and SWAP alone may go without harm to this claim: a seal is true by itself.  They stand for speed and order.
   FLUSH lets the store lose everything once.  TERMS begins a second term of which the first governor never learns: a zombie that
   seals a partition that is no more.  There the claim counts from when the second governor has told the store of its term.

   Abstraction.  As in permit.pml: the log is made up first; a stalled process takes no step; a write may arrive late and more
   than once; the second governor is the first one some records behind.  A push may be lost.  The newest seal of a governor
   replaces one that waits.  Limits: one clock (tolerance is zero), one gate, one guard, one flush. */
#ifndef TTL
#define TTL 1
#endif
#ifndef TMAX
#define TMAX 2
#endif
#ifndef N
#define N 3
#endif
#define MARK 1
#define BAD 2
#define RESET 3
#define EDIT 4

byte kind[N], at[N];                        /* the evidence log: what, and when it entered the front door */
byte routed = 0, now = 0;
byte ended[N + 2];                          /* by epoch: 1 + the time of the record that ended it; 0: it goes on */

bool held = false, open = false;            /* the store's record: there is one; it is a permit */
byte epoch = 0, offset = 0;
bool sealed = false; byte sTerm = 0, sOffset = 0, sTime = 0, sOpen = 0;  /* the store's seal; sOpen: the epoch that is open, 0 none */
byte term = 0;                              /* the newest term that the store was told of */
bool flushed = false;
#ifdef TERMS
byte begun = 0;                             /* 1 + when the second term began */
#endif

#define REC_OK(e, o, isPermit) (!held || e > epoch || (e == epoch && (o > offset || (o == offset && (!isPermit || open)))))
#ifdef OFF_SWAP
#define SEAL_OK(t, o) true
#else
#define SEAL_OK(t, o) (!sealed || t > sTerm || (t == sTerm && o > sOffset))
#endif
#ifdef OFF_TERM
#define TERM_OK(t) true
#else
#define TERM_OK(t) (t >= term)
#endif

proctype Governor(byte mine) {              /* mine: its term */
  byte pos = 0, e = 1, time = 0, last = 0, before = 1, prior = 1;
  bool isOpen = true, changed = true;
  bool rec = false, recOpen = false; byte recE = 0, recO = 0;          /* a record that waits to be written */
  bool sl = false; byte slO = 0, slT = 0, slE = 0;                     /* a seal that waits, the newest */
#ifdef TERMS
  if :: mine == 2 -> (begun > 0); e = N + 1; isOpen = false; rec = true; recOpen = false; recE = N + 1; recO = N; sl = true; slO = 0; slT = 0; slE = 0
     :: else -> rec = true; recOpen = true; recE = 1; recO = 0
  fi;
#else
  rec = true; recOpen = true; recE = 1; recO = 0;
#endif
  end: do
  :: atomic { pos < routed && mine == 1 -> prior = before; before = (isOpen -> e : 0); changed = false;
       if
       :: kind[pos] == MARK -> time = at[pos]
       :: kind[pos] == BAD -> isOpen = false; e = pos + 2; changed = true
       :: kind[pos] == RESET -> if :: !isOpen -> isOpen = true; e = pos + 2; changed = true :: else fi
       :: kind[pos] == EDIT -> if :: isOpen -> e = pos + 2; changed = true :: else fi
       fi;
       if :: changed -> rec = true; recOpen = isOpen; recE = e; recO = pos + 1 :: else fi;
       if
       :: time > last || changed -> last = time; sl = true; slO = pos + 1; slT = time;
#ifdef OFF_CUT
            slE = prior
#else
            slE = (isOpen -> e : 0)
#endif
       :: else
       fi; pos++ }
  :: atomic { rec ->
       if :: REC_OK(recE, recO, recOpen) -> held = true; open = recOpen; epoch = recE; offset = recO :: else fi;
       if :: rec = false :: true fi }       /* or the answer was lost: it is written again */
  :: atomic { sl ->
       if
       :: mine == 2 -> term = 2;            /* it seals under another name: this partition is no more */
            if :: ended[1] == 0 -> ended[1] = now + 1 :: else fi
       :: mine == 1 && TERM_OK(mine) && SEAL_OK(mine, slO) ->
            sealed = true; sTerm = mine; sOffset = slO; sTime = slT; sOpen = slE;
            if :: mine > term -> term = mine :: else fi
       :: else fi;
       if :: sl = false :: true fi }
  od
}

#ifdef OFF_EPOCH
#define NAMES(e) (gOpen > 0)
#else
#define NAMES(e) (gOpen == e)
#endif
#ifdef OFF_AFTER
#define AFTER_OK true
#else
#define AFTER_OK (gOffset >= pOffset)
#endif
#ifdef OFF_TERM
#define BELIEVED true
#else
#define BELIEVED (gTerm >= gFloor)
#endif

proctype Guard() {
  bool has = false; byte pE = 0, pOffset = 0;                          /* the permit in memory */
  bool hs = false; byte gTerm = 0, gFloor = 0, gOffset = 0, gTime = 0, gOpen = 0;   /* the seal in memory, and the newest term */
  byte seen = 0; bool closed = false; byte dead = 0;
  bool aR = false, xOpen = false; byte xE = 0, xO = 0;                 /* answers on their way */
  bool aS = false; byte yTerm = 0, yFloor = 0, yO = 0, yT = 0, yE = 0;
  end: do
  :: atomic { !aR && !aS && held -> aR = true; xOpen = open; xE = epoch; xO = offset }
  :: atomic { !aR && !aS && sealed -> aS = true; yTerm = sTerm; yFloor = term; yO = sOffset; yT = sTime; yE = sOpen }
  :: atomic { aR -> aR = false;
       if
       :: !xOpen && xE >= seen -> seen = xE; closed = true; has = false
       :: xOpen && (xE > seen || (xE == seen && !closed)) && xE != dead -> seen = xE; closed = false; has = true; pE = xE; pOffset = xO
       :: else -> has = false
       fi; xOpen = false; xE = 0; xO = 0 }
  :: atomic { aS -> aS = false;
       if :: yFloor > gFloor -> gFloor = yFloor :: else fi;
       if
#ifdef OFF_OLDER
       :: true ->
#else
       :: !hs || yTerm > gTerm || (yTerm == gTerm && yO >= gOffset) ->
#endif
            hs = true; gTerm = yTerm; gOffset = yO; gTime = yT; gOpen = yE;
            if :: has && gOffset >= pOffset && !NAMES(pE) -> dead = pE; has = false :: else fi
       :: else -> skip
       fi; yTerm = 0; yFloor = 0; yO = 0; yT = 0; yE = 0 }
  :: atomic { held && !open && epoch > seen -> seen = epoch; closed = true; has = false }   /* push of a closing */
  :: atomic { has && hs && BELIEVED && AFTER_OK && NAMES(pE) && now < gTime + TTL ->
       assert(ended[pE] == 0 || now <= ended[pE] - 1 + TTL);            /* I2, I6 */
       assert(pE >= seen) }                                             /* I4 */
  od
}

proctype World() {
  end: do
  :: atomic { now < TMAX -> now++ }
  :: atomic { routed < N && at[routed] <= now -> routed++ }
#ifdef FLUSH
  :: atomic { !flushed && (held || sealed) -> flushed = true; held = false; open = false; epoch = 0; offset = 0;
       sealed = false; sTerm = 0; sOffset = 0; sTime = 0; sOpen = 0; term = 0 }
#endif
#ifdef TERMS
  :: atomic { begun == 0 -> begun = now + 1 }
#endif
  od
}

init {
  atomic {
    byte i = 0, t = 0, e = 1; bool o = true;
    do
    :: i < N ->
         do :: t < TMAX -> t++ :: true -> break od;
         at[i] = t;
         if
         :: kind[i] = MARK
#ifndef TERMS
         :: kind[i] = BAD; if :: o -> ended[e] = t + 1; o = false :: else fi; e = i + 2
         :: !o -> kind[i] = RESET; o = true; e = i + 2
         :: o -> kind[i] = EDIT; ended[e] = t + 1; e = i + 2
#endif
         fi; i++
    :: else -> break
    od; i = 0; t = 0; e = 0; o = false;
    run World(); run Governor(1);
#ifdef TERMS
    run Governor(2);
#else
    run Governor(1);
#endif
    run Guard()
  }
}
