// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Gates: a script of who must have done what before whom, and tasks that are held until it is their turn.
 *
 * A script is a list of steps, each an actor at a place. An actor that comes to a place looks for it among its next steps
 * and waits until every earlier step of every other actor is done. A step is done when its actor comes to whatever place
 * is next, so that what lies between the two has happened. To come to the same place again is to be there still, unless the
 * script has the place twice in a row. Places that are not in the script are passed; steps whose place is not met are
 * skipped once a later one of the same actor is. The place SVMLAB_GATE_ANYWHERE is wherever the actor is next.
 *
 * Nothing can hang: a wait has an end, and one that comes to it disarms the script and is told in the state. In atomic
 * context the wait spins.
 *
 * One script at a time, for the whole module: this is a laboratory.
 */
#include <linux/jiffies.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/processor.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include "shim.h"
#include "svmlab_drm.h"

/* How many of its own next steps an actor looks at for the place it is at. */
#define LOOKAHEAD	64
/* In atomic context a wait is shorter: the lock that is held may be what the others need. */
#define ATOMIC_MS	200

static DEFINE_MUTEX(ioctl_lock);
static DEFINE_SPINLOCK(gate_lock);
static DECLARE_WAIT_QUEUE_HEAD(turn);

/* All under gate_lock. */
static struct svmlab_gate_step *steps;
static u32 nsteps, nactors, timeout_ms;
static u32 undone[SVMLAB_GATE_ACTORS];		/* index of the actor's first step that is not done */
static bool doing[SVMLAB_GATE_ACTORS];		/* it has been let into that step */
static struct task_struct *who[SVMLAB_GATE_ACTORS];	/* compared only, never followed */
static u32 passed, held, skipped, late, late_step;

static u32 next_of(u32 actor, u32 from)
{
	while (from < nsteps && steps[from].actor != actor)
		from++;
	return from;
}

static void advance(u32 actor, u32 to)
{
	undone[actor] = to;
	doing[actor] = false;
	wake_up_all(&turn);
}

/* What the actor was let into is done: it is somewhere else now. */
static void finish(u32 actor)
{
	if (doing[actor]) {
		passed++;
		advance(actor, next_of(actor, undone[actor] + 1));
	}
}

/* Whether the actor is in the step it was let into, and the script does not ask for another of the same place. */
static bool still_there(u32 actor, u64 place)
{
	u32 next = next_of(actor, undone[actor] + 1);

	return doing[actor] && steps[undone[actor]].place == place && !(next < nsteps && steps[next].place == place);
}

/* In the event log, when it is on: what an actor does in the script. */
static void tell(u32 actor, const char *what, u32 step)
{
	char text[64];

	svmlab_c_log(text, scnprintf(text, sizeof(text), "gate: actor %u %s step %u", actor, what, step));
}

static bool is_turn(u32 actor, u32 step)
{
	u32 other;

	for (other = 0; other < nactors; other++)
		if (other != actor && undone[other] < step)
			return false;
	return true;
}

static bool its_turn(u32 actor, u32 step)
{
	unsigned long flags;
	bool yes;

	spin_lock_irqsave(&gate_lock, flags);
	yes = !nsteps || is_turn(actor, step);
	spin_unlock_irqrestore(&gate_lock, flags);
	return yes;
}

static void disarm(void)
{
	nsteps = 0;
	svmlab_rs_gate_arm(false);
	wake_up_all(&turn);
}

/* The actor is at place; visible: the simulator can stop it there. */
static void arrive(u32 actor, u64 place, bool visible)
{
	u32 step, at, far, ms, before;
	unsigned long flags, end;
	bool came = true;

	spin_lock_irqsave(&gate_lock, flags);
	if (!nsteps || still_there(actor, place))
		goto out;
	finish(actor);
	step = nsteps;
	for (at = undone[actor], far = 0; at < nsteps && far < LOOKAHEAD; at = next_of(actor, at + 1), far++) {
		if (steps[at].place == place || (visible && !far && steps[at].place == SVMLAB_GATE_ANYWHERE)) {
			step = at;
			break;
		}
	}
	if (step == nsteps)
		goto out;
	skipped += far;
	if (far)
		advance(actor, step);
	if (!is_turn(actor, step)) {
		held++;
		tell(actor, "is held before", step);
		ms = timeout_ms;
		spin_unlock_irqrestore(&gate_lock, flags);
		if (preemptible()) {
			/* As long as others make progress they are waited for. */
			do {
				before = READ_ONCE(passed);
				came = wait_event_timeout(turn, its_turn(actor, step), msecs_to_jiffies(ms));
			} while (!came && before != READ_ONCE(passed));
		} else {
			end = jiffies + msecs_to_jiffies(min(ms, ATOMIC_MS));
			while (!(came = its_turn(actor, step)) && time_before(jiffies, end))
				cpu_relax();
		}
		spin_lock_irqsave(&gate_lock, flags);
		if (!nsteps)
			goto out;
	}
	if (!came) {
		late++;
		late_step = step;
		tell(actor, "has waited in vain before", step);
		disarm();
		goto out;
	}
	tell(actor, "is in", step);
	doing[actor] = true;
out:
	spin_unlock_irqrestore(&gate_lock, flags);
}

/* The actor that the running task is, or SVMLAB_GATE_ACTORS. */
static u32 me(void)
{
	u32 actor;

	for (actor = 0; actor < SVMLAB_GATE_ACTORS; actor++)
		if (READ_ONCE(who[actor]) == current)
			break;
	return actor;
}

void svmlab_c_gate(u64 place, bool visible)
{
	u32 actor = me();

	if (actor < SVMLAB_GATE_ACTORS)
		arrive(actor, place, visible);
}

/* The actor does nothing any more until it comes to a step at place or anywhere, or, without a place, for good. */
static void leave(u32 actor, u64 place)
{
	unsigned long flags;
	u32 at;

	spin_lock_irqsave(&gate_lock, flags);
	WRITE_ONCE(who[actor], NULL);
	if (nsteps) {
		finish(actor);
		for (at = undone[actor]; at < nsteps; at = next_of(actor, at + 1)) {
			if (place && (steps[at].place == place || steps[at].place == SVMLAB_GATE_ANYWHERE))
				break;
			skipped++;
		}
		advance(actor, at);
	}
	spin_unlock_irqrestore(&gate_lock, flags);
}

/* A work item, named by the place of its begin, begins or has ended on the running task. */
void svmlab_c_gate_work(u64 place, bool begins)
{
	unsigned long flags;
	u32 at, actor = SVMLAB_GATE_ACTORS;

	spin_lock_irqsave(&gate_lock, flags);
	for (at = 0; at < nsteps; at++)
		if (steps[at].place == place)
			actor = steps[at].actor;
	spin_unlock_irqrestore(&gate_lock, flags);
	if (actor == SVMLAB_GATE_ACTORS)
		return;
	if (begins) {
		WRITE_ONCE(who[actor], current);
		arrive(actor, place, true);
	} else {
		leave(actor, place);
	}
}

static int load(const struct svmlab_gate *gate)
{
	struct svmlab_gate_step *script, *old;
	u32 at, actors = 0;

	if (!gate->count || gate->count > SVMLAB_GATE_STEPS)
		return gate->count ? -E2BIG : -EINVAL;
	if (!gate->timeout_ms || gate->timeout_ms > SVMLAB_GATE_TIMEOUT_MS)
		return -EINVAL;
	script = vmemdup_array_user(u64_to_user_ptr(gate->steps_ptr), gate->count, sizeof(*script));
	if (IS_ERR(script))
		return PTR_ERR(script);
	for (at = 0; at < gate->count; at++) {
		if (script[at].actor >= SVMLAB_GATE_ACTORS || script[at].pad) {
			kvfree(script);
			return -EINVAL;
		}
		actors = max(actors, script[at].actor + 1);
	}
	spin_lock_irq(&gate_lock);
	old = steps;
	steps = script;
	nsteps = gate->count;
	nactors = actors;
	timeout_ms = gate->timeout_ms;
	passed = held = skipped = late = late_step = 0;
	for (at = 0; at < SVMLAB_GATE_ACTORS; at++) {
		who[at] = NULL;
		doing[at] = false;
		undone[at] = next_of(at, 0);
	}
	svmlab_rs_gate_arm(true);
	spin_unlock_irq(&gate_lock);
	kvfree(old);
	return 0;
}

int svmlab_gate_ioctl(struct svmlab_gate *gate)
{
	int err = 0;

	mutex_lock(&ioctl_lock);
	switch (gate->what) {
	case SVMLAB_GATE_ARM:
		err = load(gate);
		break;
	case SVMLAB_GATE_ENTER:
	case SVMLAB_GATE_LEAVE:
	case SVMLAB_GATE_POINT:
		if (gate->actor >= SVMLAB_GATE_ACTORS)
			err = -EINVAL;
		else if (gate->what == SVMLAB_GATE_ENTER)
			WRITE_ONCE(who[gate->actor], current);
		break;
	case SVMLAB_GATE_DISARM:
		spin_lock_irq(&gate_lock);
		disarm();
		spin_unlock_irq(&gate_lock);
		break;
	case SVMLAB_GATE_STATE:
		break;
	default:
		err = -EINVAL;
	}
	mutex_unlock(&ioctl_lock);
	if (err)
		return err;
	/* These may wait, and others must be able to go on meanwhile. */
	if (gate->what == SVMLAB_GATE_POINT)
		arrive(gate->actor, gate->place, true);
	else if (gate->what == SVMLAB_GATE_LEAVE)
		leave(gate->actor, 0);
	spin_lock_irq(&gate_lock);
	gate->passed = passed;
	gate->held = held;
	gate->skipped = skipped;
	gate->late = late;
	gate->late_step = late_step;
	spin_unlock_irq(&gate_lock);
	return 0;
}

void svmlab_gate_exit(void)
{
	kvfree(steps);
	steps = NULL;
}
