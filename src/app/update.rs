//! From an input to actions: overlay, then view, then keymap.

use crossterm::event::KeyCode;

use crate::action;
use crate::keys::{Chord, Found, Line};
use crate::state::{Cx, Effect, Layer, State};
use crate::view::overlay::Answer;
use crate::view::{Data, Input, Mouse, MouseKind, Reply, Selection, Target};

/// Applies one input to the state; what is to be done in the world is added to `effects`.
pub(super) fn input(state: &mut State, data: &dyn Data, trouble: bool, input: &Input, effects: &mut Vec<Effect>) {
    if matches!(input, Input::Key(_) | Input::Paste(_)) {
        state.flash = None;
        state.keys += 1;
    }
    if let Some(layer) = state.layers.last_mut() {
        let answer = layer.overlay.on(input, data);
        let pinned = layer.pinned.clone();
        return answered(state, data, answer, pinned, effects);
    }
    if !matches!(input, Input::Mouse(mouse) if matches!(mouse.kind, MouseKind::Drag | MouseKind::Release)) {
        state.selection = None;
    }
    if let Input::Mouse(mouse) = input {
        if mouse.kind == MouseKind::Click
            && let Some(line) = super::draw::click(state, data, trouble, mouse.column, mouse.row)
        {
            return run(state, data, Vec::new(), &line, effects);
        }
        if pointed(state, mouse) {
            return;
        }
    }
    if let Input::Key(chord) = input {
        let raw = state.view().is_raw();
        let begun = !state.pending.is_empty() || state.count.is_some();
        if chord.code == KeyCode::Esc && begun {
            state.pending.clear();
            state.count = None;
            return;
        }
        // A raw view gets every key that its own scope does not bind.
        if state.pending.is_empty() && !raw {
            let reply = state.view_mut().on(input, data);
            if reply != Reply::Ignored {
                return replied(state, data, reply, effects);
            }
        }
        if !raw && state.keymap.counts && state.pending.is_empty() && counted(state, *chord) {
            return;
        }
        let mut chords = state.pending.clone();
        chords.push(*chord);
        match state.keymap.find(&state.scopes(trouble), &chords) {
            Found::Line(line) => {
                state.pending.clear();
                let motion = line.name.starts_with("cursor.") || line.name == "mark.toggle";
                let times = state.count.take().filter(|_| motion).unwrap_or(1);
                for _ in 0..times {
                    run(state, data, Vec::new(), &line, effects);
                }
                return;
            }
            Found::Prefix(..) => {
                state.pending = chords;
                return;
            }
            Found::Nothing => {
                state.count = None;
                let was_pending = !std::mem::take(&mut state.pending).is_empty();
                if was_pending || !raw {
                    return;
                }
            }
        }
    }
    let reply = state.view_mut().on(input, data);
    replied(state, data, reply, effects);
}

/// Takes a digit of a count; whether it was one.
fn counted(state: &mut State, chord: Chord) -> bool {
    const MOST: usize = 99_999;
    let digit = chord.typed().and_then(|ch| ch.to_digit(10)).map(|digit| digit as usize);
    match (digit, state.count) {
        // A zero alone is a key like others.
        (Some(0), None) | (None, _) => false,
        (Some(digit), count) => {
            state.count = Some((count.unwrap_or(0) * 10 + digit).min(MOST));
            true
        }
    }
}

/// Borders are dragged, text is marked, and a pane gets the focus that is clicked; whether the mouse has done its work with that.
fn pointed(state: &mut State, mouse: &Mouse) -> bool {
    match mouse.kind {
        MouseKind::Click => {
            state.dragged = state.panes().border_at(mouse.column, mouse.row);
            if let Some(pane) = state.panes().at(mouse.column, mouse.row) {
                state.panes_mut().focus(pane);
            }
            let at = (mouse.column, mouse.row);
            let text = state.view().selectable(state.panes().focused().area);
            state.selection = text
                .filter(|area| area.contains(at.into()))
                .map(|area| Selection::new(area, at));
            state.dragged.is_some()
        }
        MouseKind::Drag => {
            if let Some(selection) = &mut state.selection {
                selection.drag(mouse.column, mouse.row);
                return true;
            }
            let Some(border) = state.dragged.clone() else {
                return false;
            };
            state.panes_mut().drag(&border, mouse.column, mouse.row);
            state.laid_out = false;
            true
        }
        MouseKind::Release => {
            state.selection = state.selection.take().filter(|selection| !selection.is_empty());
            if let Some(selection) = &mut state.selection {
                selection.done = true;
                return true;
            }
            state.dragged.take().is_some()
        }
        // The wheel turns what it is over.
        MouseKind::WheelUp | MouseKind::WheelDown => {
            if let Some(pane) = state.panes().at(mouse.column, mouse.row) {
                state.panes_mut().focus(pane);
            }
            false
        }
    }
}

fn answered(state: &mut State, data: &dyn Data, answer: Answer, pinned: Vec<Target>, effects: &mut Vec<Effect>) {
    match answer {
        Answer::Stay => {}
        Answer::Close => {
            state.layers.pop();
        }
        Answer::Run(line) => {
            let layer = state.layers.pop();
            let below = state.layers.len();
            let mut cx = cx(state, data, effects, pinned);
            let done = action::run(&mut cx, &line);
            let started = cx.started.take();
            let Some(mut layer) = layer.filter(|layer| layer.overlay.keeps_input()) else {
                if let Err(error) = done {
                    state.fail(&error);
                }
                return;
            };
            // A form keeps what was typed until it is known to be good.
            match (done, started) {
                (Err(error), _) => layer.overlay.refuse(&error),
                (Ok(()), Some(id)) => {
                    layer.overlay.busy();
                    layer.waits = Some(id);
                }
                (Ok(()), None) => return,
            }
            state.layers.insert(below, layer);
        }
        Answer::Execute(plan) => {
            let layer = state.layers.pop();
            let mut cx = cx(state, data, effects, pinned);
            if layer.is_some_and(|layer| layer.over_review)
                && let Err(error) = cx.back()
            {
                cx.state.fail(&error);
            }
            cx.execute(*plan);
        }
        Answer::Live(line) => {
            let kept: Vec<Layer> = std::mem::take(&mut state.layers);
            let mut cx = cx(state, data, effects, pinned);
            // A filter that does not parse yet is not an error while it is being typed.
            let _ = action::run(&mut cx, &line);
            let opened = std::mem::replace(&mut state.layers, kept);
            state.layers.extend(opened);
        }
    }
}

fn cx<'a>(state: &'a mut State, data: &'a dyn Data, effects: &'a mut Vec<Effect>, pinned: Vec<Target>) -> Cx<'a> {
    Cx {
        state,
        data,
        effects,
        pinned,
        started: None,
    }
}

fn replied(state: &mut State, data: &dyn Data, reply: Reply, effects: &mut Vec<Effect>) {
    if let Some(line) = cx(state, data, effects, Vec::new()).reply(reply) {
        run(state, data, Vec::new(), &line, effects);
    }
}

/// Runs a line; a failure becomes the message in the bottom line.
pub(super) fn run(state: &mut State, data: &dyn Data, pinned: Vec<Target>, line: &Line, effects: &mut Vec<Effect>) {
    if state.welcome
        && matches!(
            line.name.as_str(),
            "pod.run" | "object.describe" | "help.open" | "pod.logs"
        )
    {
        state.welcome = false;
        effects.push(Effect::Remember("welcomed", String::new()));
    }
    if let Err(error) = action::run(&mut cx(state, data, effects, pinned), line) {
        state.fail(&error);
    }
}
