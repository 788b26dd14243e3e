/* routing: a policy is activated that adds a series, while routers are late, restart or die.

   Claim SAFE (I2, I6).  Evidence time of the gate never passes a bad value that no counted run has delivered: neither one of the
   new series that entered after the activation (NEW), nor one of a series that both policies have (BOTH).
   Claim LIVE (nothing good is lost).  Once one router has routed everything, the gate's coverage reaches the last mark.
   -DSAFE_ONLY leaves LIVE unasked, for switches that break it first.

   A front-door partition and the control partition, one evidence partition. Versions 1 (old), 2 and, with -DTWO_ACTIVATIONS, 3.
   A run says: from `previous` to `upto`, cut under version v. Coverage[v] counts runs of versions >= v that join it.

   Mechanisms, each with the switch that takes it away:
     OFF_VERSION        a gate counts runs of its policy's version.     Off: of any version.
     OFF_GO_BACK        a router that takes up a version goes back to the last boundary: the end of the newest mark appended before
                        the activation.                                 Off: it goes on where it is.
     OFF_CHECK          Coverage of a version begins where the older one reaches; a run that starts beyond is refused.
                        Off: a version's first run is taken wherever it starts. No harm while routers do as they should; with
                        OFF_CUT_VERSION it is what keeps SAFE.
     OFF_STRICT         the boundary's mark was appended before the activation.   Off: before it or in the same tick.
     OFF_APPEND_TIME    judged by the mark's append time.               Off: by its own time, which a paused mark writer makes old.
     OFF_MARGIN         less the tolerance between two brokers' clocks. Off: (with -DSKEW) without.
     OFF_CONTROL_MARK   evidence time waits for control's marks too.    Off: for the telemetry's alone.
     OFF_READ_CONTROL   a router that starts reads control to its end before it routes.   Off: it routes what it commits at once.
     OFF_CUT_VERSION    a commit's metadata is the version that the committed run was cut under.   Off: the router's present one.
     OFF_OLDER          a run of an older version counts if all of it was appended before the activation.  Off: it never does.
     OFF_AS_COVERED     if all that the version before covers was appended before the activation, Coverage begins where that one ends.
                        Off: at its newest boundary, which the older routers' next runs do not join.
     OFF_EACH           (TWO_ACTIVATIONS) a router goes back for every activation it takes up.     Off: for the newest alone.
     OFF_CHAIN          (TWO_ACTIVATIONS) Coverage[3] follows Coverage[2].         Off: it follows the oldest.
     OFF_DIGEST         (MISREAD) a run that was cut by a router that reads the gate's policy differently does not count for it.
                        Off: it counts, whatever its router made of the activation.
     OFF_RETELL         (MISREAD) a router that agrees goes back to where the gate stands, once it is owed something.
                        Off: it goes on where it took over.
     OFF_GAPS           (MISREAD) a run of a router that agrees and does not join is owed, too: what came before it may be told
                        by a third.                         Off: only what did not count is.
     OFF_OWED           (MISREAD, TWO_ACTIVATIONS) what a gate is owed under one policy it is owed under the next.
                        Off: Coverage[3] begins where all routers' runs reach, those that did not count among them.

   -DMISREAD: a router that starts cannot read the policies of versions 2 and 3, or it can: it is of an older version, or lacks
   a library. It stamps its runs with the version all the same, and feeds the gate nothing under it.

   Abstraction.  Both logs are made up first, then routers read them; the governor judges a record the moment it is written. Nothing
   is lost by that: routers act on what is in the log, a permit signed before a bad value entered bears an evidence time that is not
   later, and a governor that lags signs the same permits (permit.pml takes it from there). Offset order within a partition is order
   of append times. Every write to evidence is acknowledged (chain.pml loses some).
   Limits: one bad value, one evidence partition, at most two activations, no truncation. */
#ifndef FP
#define FP 4                       /* telemetry records */
#endif
#ifndef FC
#define FC 3                       /* control records */
#endif
#ifndef TMAX
#define TMAX 3
#endif
#ifndef ROUTERS
#define ROUTERS 1
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifdef TWO_ACTIVATIONS
#define VMAX 3
#else
#define VMAX 2
#endif
#define CMARK 1                    /* control: CMARK, or the version that an activation opens (2, 3) */
#define MARK 1
#define NEW 2
#define BOTH 3

byte kind[FP], appended[FP], own[FP];      /* telemetry; `own` is what the mark says, never later than `appended` */
byte what[FC], when[FC];                   /* control */
byte activated[VMAX+1];                       /* append time of each activation, 0: not in the log */
byte badKind = 0, badAt = 0;

byte coveredControl = 0, controlMark = 0;  /* the governor */
byte known = 1, policy = 1;                /* newest activation read; version of the gate's policy */
byte coverage[VMAX+1];
byte newest = 0;                           /* only for OFF_VERSION: evidence time then needs no Coverage */
bool judged = false;

byte commitAt[ROUTERS], commitVersion[ROUTERS];
byte crashes = 0;
hidden byte q, evidence;
#ifdef MISREAD
byte owedTo = 0;                   /* how far runs led that did not count, or did not join */
byte everybody = 0;                /* Coverage[2] as it would be if they had: only for OFF_OWED */
#define OWED (owedTo > coverage[policy])
#endif

#ifdef OFF_APPEND_TIME
#define TIME(i) own[i]
#else
#define TIME(i) appended[i]
#endif
#ifdef OFF_MARGIN
#define MARGIN 0
#else
#ifdef SKEW
#define MARGIN 1
#else
#define MARGIN 0
#endif
#endif
#ifdef OFF_STRICT
#define BEFORE(i, v) (TIME(i) + MARGIN <= activated[v])
#else
#define BEFORE(i, v) (TIME(i) + MARGIN < activated[v])
#endif

/* q = the newest boundary of version v at or before `limit` (0 is one) */
inline boundary(limit, v) { q = limit; do :: q > 0 && !(kind[q-1] == MARK && BEFORE(q-1, v)) -> q-- :: else -> break od }
inline lastMark(limit)    { q = limit; do :: q > 0 && kind[q-1] != MARK -> q-- :: else -> break od }

/* Coverage of a version begins at the newest boundary before its activation that the version before covers */
#define coveredBefore(v) BEFORE(coverage[v-1]-1, v)
inline begin(v) {
#ifdef OFF_CHAIN
  boundary(coverage[1], v);
#else
#ifdef OFF_OWED
  if :: v == 3 -> boundary(everybody, v) :: else -> boundary(coverage[v-1], v) fi;
#else
  boundary(coverage[v-1], v);
#endif
#endif
#ifndef OFF_AS_COVERED
  if :: q < coverage[v-1] && coveredBefore(v) -> q = coverage[v-1] :: else fi;
#endif
  coverage[v] = q; q = 0
}
inline judge() {                   /* SAFE: evidence time of the gate against what it has not been told */
#ifdef OFF_VERSION
  evidence = newest;
#else
  evidence = 0; q = 0;
  do
  :: q < coverage[policy] -> if :: kind[q] == MARK && own[q] > evidence -> evidence = own[q] :: else fi; q++
  :: else -> break
  od;
#endif
#ifndef OFF_CONTROL_MARK
  evidence = (evidence < controlMark -> evidence : controlMark);
#endif
  assert(!badKind || judged || evidence <= badAt);
  evidence = 0; q = 0
}
inline readControl(i) {            /* the governor reads record i of control, which a router has written */
  if
  :: coveredControl == i ->
       coveredControl++;
       if
       :: what[i] == CMARK -> controlMark = when[i]
       :: else -> known = what[i]; policy = known; begin(known)
       fi
  :: else
  fi
}
#define JOINS(k, previous, upto) (previous <= coverage[k] && upto > coverage[k])
#ifdef OFF_CHECK
#define ACCEPTED(k, previous, upto) (JOINS(k, previous, upto) || coverage[k] == 0)
#else
#define ACCEPTED(k, previous, upto) JOINS(k, previous, upto)
#endif
/* a run of an older version lacks nothing if all of it was appended before every activation that its router did not know */
#ifdef OFF_OLDER
#define LACKS(k, upto, v) (v < k)
#else
#if VMAX == 3 && !defined(OFF_CHAIN)
#define LACKS(k, upto, v) ((k >= 2 && v < 2 && !BEFORE(upto-1, 2)) || (k >= 3 && v < 3 && !BEFORE(upto-1, 3)))
#else
#define LACKS(k, upto, v) (v < k && !BEFORE(upto-1, k))
#endif
#endif
inline cover(k, previous, upto, v) {
  if
  :: known >= k && !LACKS(k, upto, v) && ACCEPTED(k, previous, upto) -> coverage[k] = upto;
       if :: k == policy && kind[upto-1] != MARK -> judged = true :: else fi
  :: else
  fi
}
#ifdef MISREAD
#define FEEDS(v) (!blind || v < 2)       /* what the router that cut the run makes of the gate's policy */
/* only the coverage of the gate's policy matters, and runs of a version that the router could read always agree */
inline refuse(previous, upto, v) {
  if
  :: !FEEDS(v) && known >= 2 && policy >= 2 && (JOINS(policy, previous, upto) || (previous > coverage[policy] && OWED)) ->
       owedTo = (upto > owedTo -> upto : owedTo)
#ifndef OFF_GAPS
  :: FEEDS(v) && known >= policy && v >= policy && previous > coverage[policy] -> owedTo = (upto > owedTo -> upto : owedTo)
#endif
  :: else
  fi;
#ifdef OFF_OWED
  if :: known >= 2 && previous <= everybody && upto > everybody -> everybody = upto :: else fi;
#endif
}
#else
#define FEEDS(v) true
#endif
inline readRun(previous, upto, v) {      /* the governor reads a run that ends with record upto - 1 */
#ifdef OFF_VERSION
  if
  :: JOINS(1, previous, upto) -> coverage[1] = upto;
       if :: kind[upto-1] == MARK -> newest = (own[upto-1] > newest -> own[upto-1] : newest) :: else -> judged = true fi
  :: else
  fi;
#else
#ifdef MISREAD
#ifndef OFF_DIGEST
  refuse(previous, upto, v);
#endif
#endif
#ifdef OFF_DIGEST
#define COUNTS(v) true
#else
#define COUNTS(v) FEEDS(v)
#endif
  cover(1, previous, upto, v);
  if :: COUNTS(v) -> cover(2, previous, upto, v) :: else fi;
#ifdef TWO_ACTIVATIONS
  if :: COUNTS(v) -> cover(3, previous, upto, v) :: else fi;
#endif
#endif
  judge()
}

proctype Router(byte g) {
  byte at = 0, previous = 0, control = 0, version = 1;
  byte exempt = 1;                 /* the commit's version: no going back for it, nor for older ones */
  byte done = 0, doneVersion = 1;  /* last mark boundary acknowledged, and the version it was cut under */
  byte until = 0;                  /* control is read up to here before anything is routed */
#ifdef MISREAD
  bool blind = false;
  if :: blind = true :: true fi;
#endif
  end: do
  :: atomic { control < FC ->
       if
       :: what[control] != CMARK ->
            version = what[control];
            readControl(control);  /* the activation is written before the first run under it */
            if
            :: version <= exempt
#ifdef OFF_EACH
            :: version > exempt && version == 2 && activated[3]      /* both at once: the second will do */
#endif
            :: else ->
#ifdef OFF_GO_BACK
                 skip
#else
                 boundary(at, version); at = q; q = 0; previous = at
#endif
            fi
       :: else -> readControl(control)
       fi;
       control++; judge() }
  :: atomic { at < FP && control >= until ->
       if
       :: kind[at] == MARK -> readRun(previous, at + 1, version); at++; previous = at; done = at; doneVersion = version
       :: FEEDS(version) && (kind[at] == BOTH || (kind[at] == NEW && version >= 2)) -> readRun(previous, at + 1, version); at++; previous = at
       :: else -> at++             /* not this version's: nothing is written, the next run says so */
       fi }
  :: atomic { done > 0 && (commitAt[g] != done || commitVersion[g] != doneVersion) ->
       commitAt[g] = done;
#ifdef OFF_CUT_VERSION
       commitVersion[g] = version
#else
       commitVersion[g] = doneVersion
#endif
     }
  :: atomic { crashes < CRASHES -> crashes++;                   /* killed; its successor starts from the commit */
       at = commitAt[g]; previous = at; control = 0; version = 1; exempt = commitVersion[g]; done = 0; doneVersion = 1;
#ifndef OFF_READ_CONTROL
       until = coveredControl;                                  /* nobody has read further than control's end */
#endif
#ifdef MISREAD
       if :: blind = true :: blind = false fi                   /* it is another version now */
#endif
     }
#if defined(MISREAD) && !defined(OFF_RETELL)
  :: atomic { !blind && OWED && at > coverage[policy] && version >= policy -> at = coverage[policy]; previous = at }
#endif
#if ROUTERS > 1
  :: atomic { g == 0 && crashes < CRASHES -> crashes++; at = 0; previous = 0; control = 0; version = 1; exempt = 1; done = 0;
       doneVersion = 1; until = 0; break }                      /* dies for good, and nobody succeeds it */
#endif
#ifdef MISREAD
  :: atomic { at == FP && control == FC && (blind || !OWED || at <= coverage[policy]
#ifdef OFF_RETELL
       || true
#endif
       ) ->
#ifndef SAFE_ONLY
       lastMark(FP); assert(blind || coverage[policy] >= q || activated[policy] == 0);     /* LIVE, once one reads the policy */
#endif
       blind = false;
#else
  :: atomic { at == FP && control == FC ->
#ifndef SAFE_ONLY
       lastMark(FP); assert(coverage[policy] >= q || activated[policy] == 0);     /* LIVE */
#endif
#endif
       q = 0; at = 0; previous = 0; control = 0; version = 1; exempt = 1; done = 0; doneVersion = 1; until = 0; break }
  od
}

init {
  atomic {
    byte i = 0, t = 1; bool behind = false;
#ifdef SKEW
    if :: behind = true :: true fi;        /* the telemetry's broker stamps a tick less than control's */
#endif
    do
    :: i < FP ->
         if :: t < TMAX -> t++ :: true fi;
         appended[i] = t - behind;
         if
         :: kind[i] = MARK; own[i] = appended[i];
#ifdef DELAYED
              if :: appended[i] > 1 -> own[i] = appended[i] - 1 :: true fi
#endif
         :: !badKind -> kind[i] = NEW; own[i] = appended[i]; badKind = NEW; badAt = t
         :: !badKind -> kind[i] = BOTH; own[i] = appended[i]; badKind = BOTH; badAt = t
         fi; i++
    :: else -> break
    od;
    i = 0; t = 1;
    do
    :: i < FC ->
         if :: t < TMAX -> t++ :: true fi;
         when[i] = t;
         if
         :: what[i] = CMARK
         :: !activated[2] -> what[i] = 2; activated[2] = t
#ifdef TWO_ACTIVATIONS
         :: activated[2] && !activated[3] -> what[i] = 3; activated[3] = t
#endif
         fi; i++
    :: else -> break
    od;
    /* a bad value of the new series is promised to be seen only if it entered after the activation */
    if :: badKind == NEW && (!activated[2] || badAt < activated[2]) -> badKind = 0 :: else fi;
    i = 0; t = 0; behind = false;
    do :: i < ROUTERS -> commitVersion[i] = 1; run Router(i); i++ :: else -> break od
  }
}
