/* waking: a gate that sleeps between marks, beside one that is ticked at each of them.

   Claims.  (I6) No seal names the gate up to a time at which its heartbeat was missing. (I3) After every record the sleeping gate is
   open or closed, and judged up to the same time, as the one that is ticked at each mark; and where something happens to it, the
   time that its tally has watched is the same, because decisions say it.

   Mechanisms, each with the switch that takes it away:
     OFF_IN_TIME      a gate wakes at the first time at which its condition may change.      Off: a mark later.
     OFF_DUE_FIRST    who is due is judged before the seal of the record is made.            Off: after it.
     OFF_CATCH_UP     the last mark that it missed is made up for before anything else.      Off: it is not.
     OFF_AWAKE        what was fed and not ticked is ticked at the next mark.                Off: it sleeps again at once.
     OFF_MOVE         a gate that goes over to another coverage wakes.                       Off: it sleeps on in the former one.
     OFF_PASSED       a seal names a sleeper up to the last mark.                            Off: up to when it fell asleep.

   Abstraction: one gate with one heartbeat that is judged at marks alone, as one of several instances; beats that are late; two
   coverages that have come equally far. The governor takes record after record, so there is no other process. Limits: one gate,
   one condition, one change of coverage. */
#ifndef N
#define N 8
#endif
#define GRACE 2
#define NEVER 99
byte now = 1, beat = 1, fed = 1, events = 0, lane = 0;     /* fed: the newest beat, which counts from the next mark on */
bool sOpen = true, qOpen = true;                           /* s is swept, q sleeps */
byte sWatched = 0, sLast = 1, sJudged = 1, qWatched = 0, qLast = 1, qJudged = 1;
bool asleep = false, ticked, touched, moved = false;
byte sleptIn, wakes, since, passed = 0, sealed, qBeat = 1, made;

inline sweep(t) {
  sOpen = (t <= fed + GRACE);
  sWatched = sWatched + (sOpen -> t - sLast : 0); sLast = t
}
inline tick(t) {
  qBeat = fed; qOpen = (t <= qBeat + GRACE);
  qWatched = qWatched + (qOpen -> t - qLast : 0); qLast = t
}
inline wake() {                                            /* before something happens to it */
  if
  :: asleep && passed > since ->
       made = (passed <= qBeat + GRACE);
#ifndef OFF_CATCH_UP
       assert(made == qOpen);                              /* else it was woken too late */
       qWatched = qWatched + (qOpen -> passed - qLast : 0); qLast = passed;
#endif
       qJudged = passed
  :: else
  fi;
  asleep = false
}
inline settle() {
#ifdef OFF_IN_TIME
  wakes = (qOpen -> qBeat + GRACE + 2 : NEVER);
#else
  wakes = (qOpen -> qBeat + GRACE + 1 : NEVER);
#endif
#ifdef OFF_AWAKE
  if :: wakes > now -> asleep = true; sleptIn = lane; since = now :: else fi
#else
  if :: ticked && wakes > now -> asleep = true; sleptIn = lane; since = now :: else fi
#endif
}
inline seal() {                                            /* up to when it is named; 0 where it is not */
#ifdef OFF_PASSED
  sealed = (qOpen -> qJudged : 0)
#else
  sealed = (qOpen -> (asleep && sleptIn == lane && passed > qJudged -> passed : qJudged) : 0)
#endif
}

init {
  do
  :: events < N -> atomic {
       events++; ticked = false; touched = false;
       if                                                  /* what the record holds */
       :: wake(); touched = true; if :: fed = now :: now > 1 && fed < now -> fed = now - 1 fi
       :: !moved -> moved = true;
#ifndef OFF_MOVE
          wake();
#endif
          lane = 1
       :: true
       fi;
       if                                                  /* with a mark at its end, or without */
       :: now < NEVER - GRACE - 2 ->
            now++; ticked = true; sweep(now); sJudged = now;
#ifdef OFF_DUE_FIRST
            seal(); if :: asleep -> sealed = (qOpen -> now : 0) :: else fi;
#endif
            if
            :: !touched && (!asleep || (sleptIn == lane && wakes <= now)) -> wake(); touched = true
            :: else
            fi;
            if :: touched -> tick(now); qJudged = now :: else if :: sleptIn == lane -> passed = now :: else fi fi
       :: touched                                          /* fed alone: judged at the next mark */
       fi;
       if :: touched -> settle() :: else fi;
#ifndef OFF_DUE_FIRST
       seal();
#endif
#ifndef SAFE_ONLY
       assert(qOpen == sOpen);
       assert(sealed == (sOpen -> sJudged : 0));
       assert(!touched || qWatched == sWatched);
#endif
       assert(sealed == 0 || sealed <= fed + GRACE)
     }
  :: else -> break
  od
}
