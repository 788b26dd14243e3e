/* watermark: two front-door partitions; bad values enter the one, an operator's reset travels in the other.

   Claim (I2, I6).  Evidence time of an armed gate never passes a bad value that the governor has not judged.
   Claim (I7).  A reset answers only the demands that its operator could see: the gate is not armed, with evidence time beyond it,
   over a demand that was judged after the reset was written.

   Mechanisms, each with the switch that takes it away:
     OFF_OLDEST        evidence time is the oldest of the partitions' newest marks.   Off: the newest.
     OFF_BEHIND        a mark reaches the governor behind all that stood before it.   Off: marks go straight to evidence.
     OFF_NAMES_EPOCH   a reset names the epoch of the closing that it answers.        Off: any reset is taken.
     OFF_RAISES        a demand raises the epoch of a gate that is tripped already.   Off: only the first one does.

   Abstraction.  Both logs are made up first; the router takes them in any order; the governor judges at once (see routing.pml for
   why nothing is lost by that). The reset's place is in the log, and what it names is fixed when the operator writes it: any time
   after a closing, before it is routed. A second router over the same logs changes nothing as long as runs are covered once
   (chain.pml), so there is one. Limits: two bad values, one reset, two partitions. */
#ifndef F
#define F 4
#endif
#ifndef TMAX
#define TMAX 3
#endif
#define MARK 1
#define BAD 2
#define RESET 3
typedef Log { byte kind[F]; byte at[F]; byte next = 0 };
Log log[2];
byte bads = 0, badAt[2];
byte judged = 0, seen = 0;                 /* demands judged; of those, judged before the operator wrote the reset */
bool anyReset = false, written = false, tripped = false, armed = false;
byte named = 0, epoch = 1, place = 1, answered = 0;
byte mark[2];
hidden byte evidence, i;

inline check() {
#ifdef OFF_OLDEST
  evidence = (mark[0] > mark[1] -> mark[0] : mark[1]);
#else
  evidence = (mark[0] < mark[1] -> mark[0] : mark[1]);
#endif
  i = 0;
  do
  :: !tripped && i < bads -> assert(evidence <= badAt[i] || i < answered); i++
  :: else -> break
  od; i = 0; evidence = 0
}
inline take(p) {
  place++;
  if
  :: log[p].kind[log[p].next] == MARK -> if :: log[p].at[log[p].next] > mark[p] -> mark[p] = log[p].at[log[p].next] :: else fi
  :: log[p].kind[log[p].next] == BAD -> judged++;
#ifdef OFF_RAISES
       if :: !tripped -> epoch = place :: else fi;
#else
       epoch = place;
#endif
       tripped = true
  :: log[p].kind[log[p].next] == RESET ->
       if
#ifdef OFF_NAMES_EPOCH
       :: tripped && written -> tripped = false; answered = seen; epoch = place
#else
       :: tripped && written && named == epoch -> tripped = false; answered = seen; epoch = place
#endif
       :: else
       fi
  fi;
  log[p].next++;
  check()
}
active proctype World() {
  byte p = 0, j = 0, t = 1;
  atomic {
    do
    :: p < 2 && j < F ->
         if :: t < TMAX -> t++ :: true fi;
         log[p].at[j] = t;
         if
         :: log[p].kind[j] = MARK
         :: p == 0 && bads < 2 -> log[p].kind[j] = BAD; badAt[bads] = t; bads++
         :: p == 1 && !anyReset -> log[p].kind[j] = RESET; anyReset = true
         fi; j++
    :: p < 2 && j == F -> p++; j = 0; t = 1
    :: else -> break
    od; p = 0; j = 0; t = 0
  }
  end: do
  :: atomic { log[0].next < F -> take(0) }
  :: atomic { log[1].next < F -> take(1) }
  :: atomic { tripped && anyReset && !written -> written = true; named = epoch; seen = judged }
#ifdef OFF_BEHIND
  :: atomic { p < 2 -> p++; mark[p-1] = TMAX; check() }          /* a mark that waited behind nothing */
#endif
  od
}
