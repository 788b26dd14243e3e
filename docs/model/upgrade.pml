/* upgrade: another version takes over a gate, from a form that is some records old, without the memory of its conditions.

   Claim (I5).  A gate that the former version had TRIPPED, and had not reset, opens only after news: a normal value that stands
   behind the trip in the log. It does not matter whether the form knows of the trip.

   Mechanisms, each with the switch that takes it away:
     OFF_TRIP       whoever goes on makes the gate TRIPPED, whatever the form says.          Off: as the form says.
     OFF_END        news counts from the end that the log had at the takeover.               Off: from the form on.
     OFF_WAIT       nothing resets before that end is judged.                                Off: a reset counts at once.
     OFF_KEPT       the end is a part of what is kept: a restart does not lose it.           Off: it is where the restart begins.

   Abstraction: the log is made up first. One series; a value is normal or bad. The former version trips over a bad value, because
   it remembers what is normal; the other has no memory, and trips over nothing. A reset needs news, and a normal last value.
   The former version is killed at any time, and writes a form at any time: one that is put back is an older one.
   Limits: one gate, no probes; that a fault is learnt as normal by a gate that never tripped is no claim here. */
#ifndef F
#define F 5
#endif
#define NORMAL 0
#define BAD 1
#define RESET 2

byte log[F];
byte written = 0;                                         /* records that are there */
byte judged = 0, closed = 0, last = NORMAL, news = 0;     /* of the former version; positions count from 1 */
bool tripped = false, killed = false;
byte formAt = 0; bool formTripped = false;                /* the newest form, or one that was put back */
byte at = 0, upto = 0, from = 0, newest = 0, seen = NORMAL;  /* of the other version */
bool shut = false, runs = false, isOpen = false;

inline opens() {
  isOpen = true;
  assert(!tripped || newest > closed)
}

active proctype Log() {
  do
  :: atomic { written < F ->
       if :: log[written] = NORMAL :: log[written] = BAD :: log[written] = RESET fi;
       written++ }
  :: written == F -> break
  od
}

active proctype Former() {
  end: do
  :: atomic { !killed && judged < written ->
       judged++;
       if
       :: log[judged - 1] == BAD -> last = BAD;
            if :: !tripped -> tripped = true; closed = judged; news = 0 :: else fi
       :: log[judged - 1] == NORMAL -> last = NORMAL;
            if :: tripped -> news = judged :: else fi
       :: log[judged - 1] == RESET ->
            if :: tripped && last == NORMAL && news > closed -> tripped = false :: else fi
       fi }
  :: atomic { !killed -> formAt = judged; formTripped = tripped }
  :: atomic { !killed -> killed = true; break }
  od
}

active proctype Other() {
  atomic { killed ->
    runs = true; at = formAt; upto = written;
#ifdef OFF_TRIP
    shut = formTripped;
#else
    shut = true;
#endif
#ifdef OFF_END
    upto = at;
#endif
    from = upto }
  end: do
  :: atomic { shut == false && !isOpen && at >= upto -> newest = at; opens() }     /* it has learnt, and nothing latches it */
  :: atomic { at < written ->
       at++;
       if
       :: log[at - 1] == BAD -> seen = BAD
       :: log[at - 1] == NORMAL -> seen = NORMAL;
#ifdef OFF_WAIT
            newest = at
#else
            if :: at > from -> newest = at :: else fi
#endif
       :: log[at - 1] == RESET ->
            if
            :: shut && seen == NORMAL && newest > 0 &&
#ifndef OFF_WAIT
               at > upto &&
#endif
               !isOpen -> shut = false; opens()
            :: else
            fi
       fi }
  :: atomic { shut && !isOpen ->                                                  /* killed, and started again where it is */
#ifdef OFF_KEPT
       upto = at; from = at;
#endif
       skip }
  od
}
