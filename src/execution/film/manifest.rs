//! What a film says of itself.

use serde_json::{Value, json};

use super::FilmTask;
use crate::domain::UnixMs;
use crate::domain::plan::TaskRole;

/// Every scene with what its tasks said of themselves.
pub(super) fn manifest(task: &FilmTask<'_>, now: UnixMs) -> Value {
    let (film, plan) = (task.film, task.plan);
    let said = |position: usize| task.finished.get(&(position as u32)).map(|result| result.manifest.clone());
    let stage = plan.get(task.position as usize).map(|task| task.stage);
    let mut warnings: Vec<Value> = Vec::new();
    let scenes: Vec<Value> = film
        .scenes
        .iter()
        .enumerate()
        .map(|(index, scene)| {
            let (mut keyframe, mut clips, mut made) = (Value::Null, Vec::new(), Value::Null);
            for (position, planned) in
                plan.iter().enumerate().filter(|(_, planned)| planned.role.scene() == Some(index) && Some(planned.stage) == stage)
            {
                let Some(said) = said(position) else { continue };
                if let Some(own) = said.get("warnings").and_then(Value::as_array) {
                    warnings.extend(own.iter().cloned());
                }
                match planned.role {
                    TaskRole::Keyframe { .. } => keyframe = said,
                    TaskRole::Clip { .. } => clips.push(said),
                    TaskRole::Scene { .. } => made = said,
                    TaskRole::Pictures | TaskRole::Film | TaskRole::Remote => {}
                }
            }
            let first_frame = match (&scene.init_image, &film.keyframes) {
                (Some(_), _) => json!("the image that was sent"),
                (None, Some(settings)) => json!({ "model": settings.model, "made_by": keyframe }),
                (None, None) => Value::Null,
            };
            json!({
                "id": scene.id,
                "prompt": scene.prompt,
                "frames": scene.frames,
                "seed": scene.seed,
                "transition": scene.transition,
                "first_frame": first_frame,
                "clips": clips,
                "scene": made,
            })
        })
        .collect();
    if film.scenes.iter().any(|scene| scene.camera.is_some()) {
        warnings
            .push(json!("the video model has no camera input: camera commands move a virtual camera over the finished frames"));
    }
    warnings.dedup();
    json!({
        "generator": format!("framewright {}", env!("CARGO_PKG_VERSION")),
        "model": film.model,
        "request": film,
        "scenes": scenes,
        "warnings": warnings,
        "created": now.to_string(),
    })
}
