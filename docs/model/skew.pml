/* skew: the clock of a mark writer is fast for a while, then put right.

   Claim (I2, I6).  No permit is signed with an evidence time beyond a bad value that stands in its topic and was not judged.

   Mechanisms, each with the switch that takes it away:
     OFF_APPEND_TIME   a mark's time is the smaller of its own and its append time.   Off: its own.
     OFF_CEILING       a governor does not sign while its clock says that evidence time lies in the future.   Off: it signs.
   OFF_CEILING alone keeps the claim, and the ceiling alone does not keep it: a governor that lags meets the promise of a fast clock
   when it is no longer in the future. The ceiling is a second line for a broker whose clock is fast as well, and narrows it only.

   Abstraction: time runs, the log is made up first and is read when its time has come. Limits: brokers' and governor's clocks are
   right here; where they differ, they differ by less than the tolerance, which the guard subtracts. */
#ifndef F
#define F 4
#endif
#define AHEAD 3
#define TMAX 5
#define MARK 1
#define BAD 2
byte kind[F], appended[F], own[F], next = 0, now = 0, evidence = 0, badAt = 0;
bool anyBad = false, judged = false;

active proctype World() {
  byte i = 0, t = 0;
  atomic {
    do
    :: i < F ->
         do :: t < TMAX -> t++ :: true -> break od;
         appended[i] = t;
         if
         :: kind[i] = MARK; own[i] = t
         :: kind[i] = MARK; own[i] = t + AHEAD
         :: !anyBad -> kind[i] = BAD; anyBad = true; badAt = t
         fi; i++
    :: else -> break
    od; i = 0; t = 0
  }
  end: do
  :: atomic { now < TMAX + AHEAD -> now++ }
  :: atomic { next < F && appended[next] <= now ->               /* routed and read by the governor */
       if
       :: kind[next] == BAD -> judged = true
       :: else ->
#ifdef OFF_APPEND_TIME
            t = own[next];
#else
            t = (own[next] < appended[next] -> own[next] : appended[next]);
#endif
            if :: t > evidence -> evidence = t :: else fi; t = 0
       fi; next++ }
#ifdef OFF_CEILING
  :: atomic { evidence > 0 && !judged -> skip;
#else
  :: atomic { evidence > 0 && !judged && evidence <= now -> skip;         /* it signs */
#endif
       assert(!anyBad || badAt > now || evidence <= badAt) }
  od
}
