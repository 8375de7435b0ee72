//! One state for the house, or one for each room.

use hearth::config::{Config, States};
use hearth::event::{AlertPhase, Utterance};
use hearth::listener::snapshot::ReadPosition;
use hearth::listener::snapshot_store::SnapshotStore;
use hearth::listener::{ListenerOutcome, Listeners};
use jiff::Timestamp;

use super::{at, fired, leaves, open, said};

/// A call for help in the hall, and in between the kitchen talks of other things.
fn two_rooms() -> Vec<(i64, Utterance)> {
    let talk = [
        ("kitchen", "The plumber is coming tomorrow at ten."),
        ("hall", "Help! I fell in the bathroom. My ankle hurts so much. I can't get up."),
        ("kitchen", "Someone has to be home."),
        ("hall", "Stay there, I'm calling the doctor."),
    ];
    let utterance = |(n, (room, text)): (usize, &(&str, &str))| {
        let start = 10.0 * n as f64;
        (n as i64 + 1, Utterance { room: (*room).into(), ..said(start, start + 3.0, text) })
    };
    talk.iter().enumerate().map(utterance).collect()
}

/// The state of one who heard only what was said in a room.
fn of_room_alone(talk: &[(i64, Utterance)], room: &str) -> Vec<griffin::StateTensor> {
    let mut alone = open();
    let said: Vec<_> = talk.iter().map(|(_, said)| said).filter(|said| said.room == room).cloned().collect();
    alone.replay(&said).unwrap();
    leaves(&alone)
}

fn of_each_room(listeners: &mut Listeners) -> [Vec<griffin::StateTensor>; 2] {
    ["hall", "kitchen"].map(|room| leaves(listeners.get_mut(Some(room)).0))
}

fn policy() -> hearth::listener::snapshot_store::SnapshotPolicy {
    hearth::listener::snapshot_store::SnapshotPolicy::new(&Config::default().listener, hearth::config::Keep::Forever)
}

#[test]
fn each_rooms_state_reads_only_what_was_said_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut listeners = Listeners::new(open(), States::Room, SnapshotStore::open(dir.path()).unwrap()).unwrap();
    assert_eq!(listeners.states_for(None), Ok(vec![None]), "nothing was heard in any room");
    let talk = two_rooms();
    let mut all = ListenerOutcome::default();
    for (seq, utterance) in &talk {
        listeners.hear(*seq, utterance).unwrap();
        all.add(listeners.consider(utterance.end).unwrap());
    }
    assert_eq!(of_each_room(&mut listeners), ["hall", "kitchen"].map(|room| of_room_alone(&talk, room)));
    let fired = fired(&all);
    assert_eq!(
        fired.iter().map(|alert| (alert.rule.as_str(), alert.room.as_deref())).collect::<Vec<_>>(),
        [("help", Some("hall"))]
    );
    let rooms = |asked: Result<Vec<Option<String>>, String>| asked.unwrap().into_iter().flatten().collect::<Vec<_>>();
    assert_eq!(rooms(listeners.states_for(None)), ["hall", "kitchen"]);
    assert_eq!(rooms(listeners.states_for(Some("hall"))), ["hall"]);
    assert!(listeners.states_for(Some("attic")).unwrap_err().contains("there are: hall, kitchen"));
    let kitchen = listeners.states_for(Some("kitchen")).unwrap();
    let digests = listeners.summarize(kitchen, at(60.0)).unwrap();
    assert_eq!((digests.len(), digests[0].room.as_deref(), digests[0].words), (1, Some("kitchen"), 12));
    // Without a room: those of which something is untold; then one that says that nothing is.
    for (room, words) in [("hall", 21), ("hall", 0)] {
        let all = listeners.states_for(None).unwrap();
        let digests = listeners.summarize(all, at(60.0)).unwrap();
        assert_eq!((digests.len(), digests[0].room.as_deref(), digests[0].words), (1, Some(room), words));
    }
    assert_eq!(listeners.acknowledge(None).unwrap().as_str(), "help");
    let known: Vec<_> = listeners.standings(at(60.0)).filter(|it| it.acknowledged).map(|it| it.room).collect();
    assert_eq!(known, [Some("hall")]);
}

#[test]
fn every_room_continues_after_a_restart_and_rolls_back_to_forget() {
    let dir = tempfile::tempdir().unwrap();
    let history = SnapshotStore::open(dir.path()).unwrap();
    let talk = two_rooms();
    let mut first = Listeners::new(open(), States::Room, history.clone()).unwrap();
    for (seq, utterance) in &talk[..2] {
        first.hear(*seq, utterance).unwrap();
    }
    first.save(&ReadPosition { read: 2, time: at(20.0) }, &policy(), Timestamp::MIN).unwrap();
    first.hear(3, &talk[2].1).unwrap();
    first.save(&ReadPosition { read: 3, time: at(30.0) }, &policy(), Timestamp::MIN).unwrap();
    let memory = first.memory();

    let mut second = Listeners::new(open(), States::Room, history.clone()).unwrap();
    assert_eq!(second.restore(|_| true, 0).unwrap(), 0, "the state of the house, which heard nothing, begins afresh");
    second.recall(&memory, at(40.0)).unwrap();
    assert_eq!(second.memory(), memory);
    assert_eq!(of_each_room(&mut second), of_each_room(&mut first));
    second.replay(&talk).unwrap();
    assert_eq!(
        of_each_room(&mut second),
        ["hall", "kitchen"].map(|room| of_room_alone(&talk, room)),
        "only what it lacks"
    );

    // What came last is forgotten: of each room the snapshot before is there, and is told what stays.
    history.all().unwrap().iter().for_each(|history| history.forget(3).unwrap());
    assert_eq!(second.roll_back(3, 0).unwrap(), Some(2));
    assert_eq!(of_each_room(&mut second), ["hall", "kitchen"].map(|room| of_room_alone(&talk[..2], room)));
    // And all of it.
    history.all().unwrap().iter().for_each(|history| history.forget(1).unwrap());
    assert_eq!(second.roll_back(1, 0).unwrap(), Some(0));
    assert_eq!(second.tokens_read(), 0);
}

#[test]
fn old_snapshots_are_removed_also_of_quiet_rooms_and_of_rooms_without_a_state() {
    let dir = tempfile::tempdir().unwrap();
    let history = SnapshotStore::open(dir.path()).unwrap();
    let kitchen = history.of_room("kitchen");
    let kept = || kitchen.list().unwrap().len();
    let say = |seq: i64, room: &str| (seq, Utterance { room: room.into(), ..said(0.0, 1.0, "Good evening.") });
    let hours = |hours: i64| at(3600.0 * hours as f64);
    let save = |listeners: &mut Listeners, read, hour, oldest| {
        listeners.save(&ReadPosition { read, time: hours(hour) }, &policy(), oldest).unwrap();
    };
    let mut rooms = Listeners::new(open(), States::Room, history.clone()).unwrap();
    for seq in 1..=4 {
        rooms.replay(&[say(seq, "kitchen")]).unwrap();
        save(&mut rooms, seq, seq, Timestamp::MIN);
    }
    assert_eq!(kept(), 4);
    rooms.replay(&[say(5, "hall")]).unwrap();
    save(&mut rooms, 5, 5, hours(2));
    assert_eq!(kept(), 3, "nothing was said in the kitchen");
    let mut house = Listeners::new(open(), States::House, history.clone()).unwrap();
    save(&mut house, 5, 6, hours(5));
    assert_eq!(kept(), 2, "the newest stay");
}

#[test]
fn one_state_reads_all_rooms_and_those_beyond_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let talk = two_rooms();
    let mut house = Listeners::new(open(), States::House, SnapshotStore::open(dir.path()).unwrap()).unwrap();
    house.replay(&talk).unwrap();
    assert!(house.rooms().is_empty() && house.states_for(Some("hall")).unwrap_err().contains("share one state"));
    let mut alone = open();
    alone.replay(&talk.iter().map(|(_, said)| said.clone()).collect::<Vec<_>>()).unwrap();
    assert_eq!(leaves(house.get_mut(None).0), leaves(&alone));

    let mut many = Listeners::new(open(), States::Room, SnapshotStore::open(dir.path()).unwrap()).unwrap();
    for seq in 1..20 {
        many.hear(seq, &Utterance { room: format!("room {seq}"), ..said(0.0, 1.0, "Good evening.") }).unwrap();
    }
    assert_eq!((many.rooms().len(), many.states_for(None).unwrap().len()), (16, 17));
    assert_eq!(many.get_mut(None).0.state().tokens_read(), {
        let mut house = open().in_several_rooms(true);
        let said = |seq| Utterance { room: format!("room {seq}"), ..said(0.0, 1.0, "Good evening.") };
        house.replay(&[said(17), said(18), said(19)]).unwrap();
        house.state().tokens_read()
    });
}

#[test]
fn alerts_of_rooms_end_when_all_share_one_state_again() {
    let dir = tempfile::tempdir().unwrap();
    let history = SnapshotStore::open(dir.path()).unwrap();
    let mut rooms = Listeners::new(open(), States::Room, history.clone()).unwrap();
    for (seq, utterance) in &two_rooms() {
        rooms.hear(*seq, utterance).unwrap();
        rooms.consider(utterance.end).unwrap();
    }
    let mut house = Listeners::new(open(), States::House, history).unwrap();
    let ended = house.recall(&rooms.memory(), at(60.0)).unwrap().alerts;
    assert_eq!(
        ended.iter().map(|alert| (alert.phase, alert.room.as_deref())).collect::<Vec<_>>(),
        [(AlertPhase::End, Some("hall"))]
    );
}
