#!/usr/bin/env python3
"""Records the labelled traces: runs the services on real stores, drives each case of labels.toml, keeps its traces.

    tools/labelled/record.py [--only PREFIX ...] [--place FOLDER] [--out FOLDER]

Installs what it needs into --place (venv, node_modules) at the first run. It judges nothing: labels.toml is written by
hand, and the rules are not run here."""

import argparse
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

from collect import Collector, write

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent.parent / "testdata/traces/labelled"
ROUND_TRIP_HALF_MS = "1"
WARM_UP = 4
LIMIT_S = 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Processes:
    """What was started; all of it is ended at the end."""

    def __init__(self, place):
        self.running, self.place = [], place

    def start(self, words, **options):
        log = open(self.place / "logs" / f"{len(self.running)}.log", "w")
        self.running.append(subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options))
        return self.running[-1]

    def end(self):
        for process in reversed(self.running):
            process.send_signal(signal.SIGINT if "postgres" in process.args[0] else signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def build(place):
    """The Rust service, a workspace of its own."""
    subprocess.run(["cargo", "build", "--quiet", "--release", "--manifest-path", HERE.parent.parent / "testdata/services/axum/Cargo.toml", "--target-dir",
                    place / "axum/target"], check=True)


def install(place):
    """A venv and two folders of node modules, made anew when their lists change."""
    def fresh(name, lists):
        mark, now = place / f"{name}.whole", "\n".join(p.read_text() for p in lists)
        done = mark.exists() and mark.read_text() == now
        return done, lambda: mark.write_text(now)

    done, finish = fresh("python", [HERE / "requirements.txt"])
    if not done:
        subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
        subprocess.run([place / "venv/bin/pip", "install", "--quiet", "-r", HERE / "requirements.txt"], check=True)
        finish()
    for name in ("express", "fastify"):
        folder = place / name
        folder.mkdir(exist_ok=True)
        lists = sorted((HERE / name).glob("package*.json"))
        done, finish = fresh(name, lists)
        if not done:
            for p in lists:
                shutil.copy(p, folder)
            step = "ci" if (folder / "package-lock.json").exists() else "install"
            subprocess.run(["npm", step, "--no-audit", "--no-fund", "--ignore-scripts", "--silent"], cwd=folder, check=True)
            finish()
        for p in (HERE / name).glob("*.js"):
            shutil.copy(p, folder)
    for name in ("partner.js", "distance.js"):
        shutil.copy(HERE / name, place)


class Stores:
    """Postgres and Redis of this run, behind a network."""

    def __init__(self, place, processes):
        data = place / "postgres"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        user = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        if user:
            shutil.chown(data, "postgres", "postgres")
        port, cache, near, near_cache = (free_port() for _ in range(4))
        subprocess.run([tool("initdb"), "-D", data, "-U", "trimtab", "-A", "trust", "--no-sync"],
                       check=True, stdout=subprocess.DEVNULL, cwd="/", **user)
        processes.start([tool("postgres"), "-D", str(data), "-p", str(port), "-k", "", "-h", "127.0.0.1", "-c",
                         "fsync=off", "-c", "max_connections=300"], cwd="/", **user)
        processes.start(["redis-server", "--port", str(cache), "--save", "", "--dir", str(place)])
        processes.start(["node", str(place / "distance.js"), ROUND_TRIP_HALF_MS, f"{near}:{port}", f"{near_cache}:{cache}"])
        url = f"postgresql://trimtab@127.0.0.1:{port}/postgres"
        wait_for(lambda: subprocess.run(["psql", url, "-qc", "SELECT 1"], capture_output=True).returncode == 0, "postgres")
        subprocess.run(["psql", url, "-q", "-v", "ON_ERROR_STOP=1", "-f", HERE / "seed.sql"], check=True)
        self.direct = url
        self.database = f"postgresql://trimtab@127.0.0.1:{near}/postgres"
        self.cache = f"redis://127.0.0.1:{near_cache}/0"


def tool(name):
    found = shutil.which(name)
    if found:
        return str(pathlib.Path(found).resolve())
    places = sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if not places:
        sys.exit(f"{name} is missing: install Postgres")
    return str(places[-1])


def wait_for(ready, what):
    end = time.monotonic() + LIMIT_S
    while not ready():
        if time.monotonic() > end:
            sys.exit(f"{what} did not start, see the logs")
        time.sleep(0.1)


class Services:
    """Starts a service the first time that a case asks for it. A name is `service` or `service+variant`."""

    VARIANTS = {
        "values": {"SHOW_VALUES": "1"},
        "warm": {"WARM_UP": "1"},
        "slow": {"LAG_S": "0.06"},
        "single": {"THREADS": "one"},
        "a": {}, "b": {}, "wide": {},
    }
    NAMES = {"fastapi": "catalogue", "flask": "shops", "django": "backoffice", "express": "members", "fastify": "boards",
             "axum": "depot", "shop": "shop"}
    # Python emits the old names unless told; its Django service emits both.
    NAMING = {"fastapi": "http,database", "flask": "", "django": "http/dup,database/dup", "express": "", "fastify": ""}

    def __init__(self, place, processes, stores, collector):
        self.place, self.processes, self.stores, self.collector = place, processes, stores, collector
        self.ports = {}

    def partner(self):
        if "partner" not in self.ports:
            port = self.ports["partner"] = free_port()
            self.processes.start(["node", str(self.place / "partner.js")], env={**os.environ, "PORT": str(port)})
            wait_for(lambda: answers(port, "/"), "partner")
        return f"http://127.0.0.1:{self.ports['partner']}"

    def port(self, name):
        if name not in self.ports:
            self.ports[name] = self.start(name)
        return self.ports[name]

    def start(self, name):
        kind, *variants = name.split("+")
        port = free_port()
        attributes = {"a": "service.instance.id=one", "b": "service.instance.id=two"}
        named = [attributes[v] for v in variants if v in attributes]
        printer = {"fastify": "django+single"}.get(kind, "flask+single")
        if "wide" in variants:
            printer = printer.removesuffix("+single")
        env = {
            **os.environ, "PORT": str(port), "DATABASE_URL": self.stores.database, "REDIS_URL": self.stores.cache,
            "PARTNER_URL": self.partner(), "OTEL_SERVICE_NAME": self.NAMES[kind],
            "OTEL_RESOURCE_ATTRIBUTES": ",".join(named), "OTEL_SEMCONV_STABILITY_OPT_IN": self.NAMING.get(kind, ""),
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.collector.url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_NODE_RESOURCE_DETECTORS": "env",
            "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE":
                "content-length,content-type,content-encoding,etag,cache-control",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for variant in variants:
            env.update(self.VARIANTS[variant])
        if kind in ("fastapi", "express", "fastify") and "single" not in variants:
            # The other side is started when the first print is asked for, its port is known before.
            env["PRINTER_URL"] = f"http://127.0.0.1:{self.port(printer)}"
        folder = self.place / kind
        if kind == "fastapi":
            words = [self.place / "venv/bin/opentelemetry-instrument", self.place / "venv/bin/uvicorn", "app:app",
                     "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning", "--app-dir", HERE / kind]
        elif kind in ("flask", "django"):
            if kind == "django":
                env |= {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": str(HERE / kind)}
            words = [self.place / "venv/bin/opentelemetry-instrument", self.place / "venv/bin/python", HERE / kind / "app.py"]
        elif kind in ("express", "fastify"):
            words = ["node", "--require", folder / "tracing.js", folder / "server.js"]
        elif kind == "shop":
            env |= {"DATABASE_URL": self.shop_database(), "SHOP_LISTEN": f"127.0.0.1:{port}", "SHOP_ACCESS_LOG": "off",
                    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": ""}
            words = [os.environ["SHOP_BINARY"], "serve"]
        else:
            words = [self.place / "axum/target/release/depot"]
        self.processes.start([str(w) for w in words], env=env)
        wait_for(lambda: answers(port, "/healthz" if kind == "shop" else "/health"), name)
        return port

    def shop_database(self):
        """The shop's rows, in a database of their own."""
        direct = self.stores.direct.replace("/postgres", "/shop")
        if subprocess.run(["psql", direct, "-qc", "SELECT 1"], capture_output=True).returncode != 0:
            subprocess.run(["psql", self.stores.direct, "-qc", "CREATE DATABASE shop"], check=True)
            subprocess.run([os.environ["SHOP_BINARY"], "seed", "--scale", "0.1"], check=True,
                           env={**os.environ, "DATABASE_URL": direct}, stdout=subprocess.DEVNULL)
        return self.stores.database.replace("/postgres", "/shop")


def answers(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return answer.status < 500
    except OSError:
        return False


class Asker:
    """Connections of the load, one a thread."""

    def __init__(self):
        self.local = threading.local()
        self.failed = 0

    def ask(self, port, method, path, body):
        held = self.local.__dict__
        try:
            if port not in held:
                held[port] = HTTPConnection("127.0.0.1", port, timeout=20)
            headers = {"content-type": "application/json"} if body else {}
            held[port].request(method, path, body=body, headers=headers)
            answer = held[port].getresponse()
            answer.read()
            if answer.status >= 500:
                self.failed += 1
        except OSError:
            self.failed += 1
            held.pop(port, None)


def drive(case, services, random_):
    """Sends the case's requests at its rates, with exponential gaps; returns how many failed."""
    plan = []
    for load in case["load"]:
        method, path = load["ask"].split(" ", 1)
        ports = [services.port(s) for s in load.get("on", [case["service"]])]
        at = 0.0
        for number in range(load.get("count", 32)):
            at += random_.expovariate(load.get("rate", 8))
            filled = re.sub(r"\{(\d+)-(\d+)\}", lambda m: str(random_.randint(int(m[1]), int(m[2]))), path)
            body = re.sub(r"\{(\d+)-(\d+)\}", lambda m: str(random_.randint(int(m[1]), int(m[2]))), load.get("body", ""))
            plan.append((at, ports[number % len(ports)], method, filled, body or None))
    plan.sort(key=lambda p: p[0])
    asker = Asker()
    with ThreadPoolExecutor(32) as threads:
        begin = time.monotonic()
        for at, port, method, path, body in plan:
            time.sleep(max(0.0, begin + at - time.monotonic()))
            threads.submit(asker.ask, port, method, path, body)
    return asker.failed


def warm_up(case, services, random_):
    loads = [{**load, "count": WARM_UP * len(load.get("on", [1])), "rate": 20} for load in case["load"]]
    drive({**case, "load": loads}, services, random_)


def switch(case, services):
    """The shop's switches of the case."""
    if "switches" in case:
        request = urllib.request.Request(
            f"http://127.0.0.1:{services.port(case['service'])}/switches", data=case["switches"].encode(), method="PUT",
            headers={"content-type": "application/json"})
        urllib.request.urlopen(request).read()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[""], help="cases whose name starts so")
    parser.add_argument("--place", type=pathlib.Path, default=pathlib.Path("/tmp/trimtab-labelled"))
    parser.add_argument("--out", type=pathlib.Path, default=DATA)
    options = parser.parse_args()
    (options.place / "logs").mkdir(parents=True, exist_ok=True)
    labels = tomllib.loads((DATA / "labels.toml").read_text())
    cases = [c for c in labels["case"] if any(c["name"].startswith(p) for p in options.only)]
    if any(c["name"].startswith("shop/") for c in cases) and "SHOP_BINARY" not in os.environ:
        sys.exit("SHOP_BINARY is not set: build the shop with `cargo build --release -p shop` and name its binary")
    install(options.place)
    if any(c["name"].startswith("axum/") for c in cases):
        build(options.place)
    processes, collector = Processes(options.place), Collector()
    try:
        services = Services(options.place, processes, Stores(options.place, processes), collector)
        for number, case in enumerate(cases):
            case.setdefault("service", case["name"].split("/")[0])
            random_ = random.Random(case["name"])
            for name in {s for load in case["load"] for s in load.get("on", [case["service"]])}:
                services.port(name)
            switch(case, services)
            warm_up(case, services, random_)
            collector.settle()
            collector.take()
            failed = drive(case, services, random_)
            collector.settle()
            batches = collector.take()
            kept, spans, size = write(batches, options.out / f"{case['name']}.jsonl.gz")
            print(f"{number + 1}/{len(cases)} {case['name']}: {kept} traces, {spans} spans, {size} bytes, "
                  f"{failed} failed", flush=True)
    finally:
        processes.end()
        collector.end()


if __name__ == "__main__":
    main()
