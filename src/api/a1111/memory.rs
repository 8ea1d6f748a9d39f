//! `/sdapi/v1/memory`: the memory of the machine and of its GPUs.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::api::state::ApiState;

/// Look at the memory
///
/// Bytes, as the devices say: `ram` where one of them is the processor, `cuda` of all GPUs together.
#[utoipa::path(get, path = "/sdapi/v1/memory", tag = "a1111", responses((status = 200, description = "As it is now", body = Object)))]
pub(in crate::api) async fn get_memory(State(state): State<ApiState>) -> Json<Value> {
    let (mut ram, mut cuda) = (None, None);
    for device in state.scheduler.devices() {
        let Some(memory) = device.executor.memory else { continue };
        if device.name.starts_with("cuda") {
            let (free, total) = cuda.unwrap_or((0, 0));
            cuda = Some((free + memory.free_bytes, total + memory.total_bytes));
        } else {
            // Processors share the machine's.
            ram = Some((memory.free_bytes, memory.total_bytes));
        }
    }
    let cuda = match cuda {
        Some(memory) => json!({"system": document(Some(memory))}),
        None => document(None),
    };
    Json(json!({"ram": document(ram), "cuda": cuda}))
}

fn document(memory: Option<(u64, u64)>) -> Value {
    match memory {
        Some((free, total)) => json!({"free": free, "used": total.saturating_sub(free), "total": total}),
        None => json!({"error": "unavailable"}),
    }
}
