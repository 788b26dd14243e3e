/* history: a new condition learns from telemetry of before its activation, while live telemetry goes on.

   Claim WHOLE (I3, I9).  When a twin takes its condition's place, it was fed one interval of the partition that ends where live
   reading is now: in order, without a hole, and each reading once.

   One front-door partition of L readings. The governor's coverage of the new version begins at any C, at most at the activation B.
   Two routers read the partition again, each from where retention then stands, and each may stop for good. Their runs and those
   of live reading come into evidence in any order. What is live since C is kept, and fed to the twin behind its history.

   Mechanisms, each with the switch that takes it away:
     OFF_CHAIN    a run that begins beyond what the chain has reached does not count.        Off: it does.
     OFF_COVERED  history is whole where it has reached C, which the governor knows.    Off: where a router says that it is at its end.
     OFF_BOUND    readings at C and beyond are live, and no history.                         Off: they are fed as both.
     OFF_ONCE     what the chain has reached is passed over.                                 Off: a second router's run is fed as well.

   Abstraction.  A router's own end is a boundary that is anywhere up to B; it is used only without COVERED. What is excluded
   because the gate was closed, and the bound of time after which nobody waits any more, take readings away and add none. */
#define L 6
#define B 4

byte c;                                /* where live reading of the new version begins */
byte kept;                             /* retention: readings below are gone */
byte live;                             /* live runs are written up to here */
byte h[2], end[2];                     /* how far each router is, and where it means to end */
bool begun[2];
bool chain, whole, hole, twice;
byte reached, next;                    /* of the chain; and the reading that the twin expects */

inline feed(r) {
  if :: r == next -> next = r + 1
     :: r < next -> twice = true
     :: else -> hole = true; next = r + 1
  fi
}

inline judge(lo, hi) {                 /* a history run [lo, hi) of one reading is judged */
  if :: !chain -> chain = true; next = lo; reached = lo :: else fi;
  if
#ifdef OFF_CHAIN
  :: lo > reached -> reached = lo
#else
  :: lo > reached -> goto passed
#endif
  :: else
  fi;
  if
#ifdef OFF_ONCE
#else
  :: hi <= reached -> goto passed
#endif
  :: else
  fi;
  if
#ifdef OFF_BOUND
  :: true -> feed(lo)
#else
  :: lo < c -> feed(lo)
  :: else
#endif
  fi;
  if :: hi > reached -> reached = hi :: else fi;
passed: skip
}

inline swap() {                        /* the twin is fed what is live since C, and takes the place */
  k = c;
  do :: k < live -> feed(k); k++ :: else -> break od;
  whole = true;
  assert(!hole && !twice && next == (live > c -> live : c))
}

active proctype World() {
  byte i, lo, k;
  select(c : 0 .. B); select(kept : 0 .. c);
  live = c;
  select(k : 0 .. B); end[0] = k; select(k : 0 .. B); end[1] = k;
  do
  :: atomic { !whole && kept < c -> kept++ }
  :: atomic { live < L -> live++ }
  :: atomic { !whole ->
       if :: i = 0 :: i = 1 fi;
       if :: !begun[i] || h[i] < kept -> begun[i] = true; h[i] = kept :: else fi;   /* a run begins where it was fetched from */
       if
       :: h[i] < B && h[i] < L -> lo = h[i]; h[i]++; judge(lo, h[i])
       :: else
       fi }
  :: atomic { !whole && chain && (
#ifdef OFF_COVERED
       (begun[0] && h[0] >= end[0]) || (begun[1] && h[1] >= end[1])
#else
       reached >= c
#endif
       ) -> swap() }
  :: atomic { !whole && !chain && kept == c && c == B -> chain = true; next = c; reached = c }  /* nothing is left: an empty run */
  :: whole -> break
  od
}
