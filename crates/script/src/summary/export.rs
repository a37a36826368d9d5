//! `--summary-export`: k6's older shape, figures beside thresholds, groups and checks by name.

use serde_json::{Map, Value, json};

/// From the data that `handleSummary` gets.
pub(crate) fn export(data: &Value) -> Value {
    let mut metrics = Map::new();
    for (name, metric) in data["metrics"].as_object().into_iter().flatten() {
        let mut out = metric["values"].as_object().cloned().unwrap_or_default();
        if let Some(rate) = out.remove("rate")
            && metric["type"] == "rate"
        {
            out.insert("value".to_owned(), rate);
        } else if metric["type"] == "counter" {
            out.insert("rate".to_owned(), metric["values"]["rate"].clone());
        }
        if let Some(thresholds) = metric["thresholds"].as_object() {
            // k6 says here whether the threshold was crossed.
            let crossed: Map<String, Value> =
                thresholds.iter().map(|(text, one)| (text.clone(), json!(one["ok"] == false))).collect();
            out.insert("thresholds".to_owned(), Value::Object(crossed));
        }
        metrics.insert(name.clone(), Value::Object(out));
    }
    json!({ "root_group": group(&data["root_group"]), "metrics": metrics })
}

fn group(value: &Value) -> Value {
    let by_name = |list: &Value, f: &dyn Fn(&Value) -> Value| -> Map<String, Value> {
        let list = list.as_array().into_iter().flatten();
        list.map(|one| (one["name"].as_str().unwrap_or_default().to_owned(), f(one))).collect()
    };
    json!({
        "name": value["name"],
        "path": value["path"],
        "id": value["id"],
        "groups": by_name(&value["groups"], &group),
        "checks": by_name(&value["checks"], &Value::clone),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_beside_thresholds() {
        let data = json!({
            "root_group": { "name": "", "path": "", "id": "x", "checks": [{ "name": "ok", "passes": 1 }],
                            "groups": [{ "name": "a", "path": "::a", "id": "y", "groups": [], "checks": [] }] },
            "metrics": {
                "checks": { "type": "rate", "values": { "rate": 0.5, "passes": 1, "fails": 1 },
                            "thresholds": { "rate>0.9": { "ok": false } } },
                "http_reqs": { "type": "counter", "values": { "count": 2.0, "rate": 1.0 } },
            },
        });
        let out = export(&data);
        assert_eq!(out["metrics"]["checks"]["value"], 0.5);
        assert_eq!(out["metrics"]["checks"]["thresholds"]["rate>0.9"], true);
        assert_eq!(out["metrics"]["http_reqs"], json!({ "count": 2.0, "rate": 1.0 }));
        assert_eq!(out["root_group"]["checks"]["ok"]["passes"], 1);
        assert_eq!(out["root_group"]["groups"]["a"]["path"], "::a");
    }
}
