"""A phone with Home Assistant's app, as far as notifications go: it registers as the app does, receives what Home Assistant pushes
at a push server of its own, and answers a button as the app does."""
import http.server, json, threading

NAME = "Rig phone"
SERVICE = "notify.mobile_app_rig_phone"


class Phone:
    def __init__(self, call):
        """`call` requests something of Home Assistant's API."""
        self.pushes, self.changed = [], threading.Condition()
        phone = self

        class Push(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                push = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with phone.changed:
                    phone.pushes.append(push)
                    phone.changed.notify_all()
                body = json.dumps({"result": "sent"}).encode()
                self.send_response(201)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Push)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/push"
        self.webhook = call("POST", "/api/mobile_app/registrations", {
            "device_id": "rig-phone", "app_id": "rig", "app_name": "rig", "app_version": "1", "device_name": NAME,
            "manufacturer": "rig", "model": "rig", "os_name": "Android", "os_version": "16", "supports_encryption": False,
            "app_data": {"push_token": "token", "push_url": url}})["webhook_id"]
        self.call = call

    def tap(self, title, seconds=20):
        """Presses the button with this title under the newest notification that has it; waits until there is one."""
        def newest():
            for push in reversed(self.pushes):
                for action in push.get("data", {}).get("actions", []):
                    if action["title"] == title:
                        return action["action"], push
        with self.changed:
            if not self.changed.wait_for(newest, seconds):
                raise RuntimeError(f"no notification with a button {title!r} within {seconds} s")
            action, push = newest()
        self.call("POST", f"/api/webhook/{self.webhook}", {"type": "fire_event", "data": {
            "event_type": "mobile_app_notification_action",
            "event_data": {"action": action, "tag": push["data"].get("tag"), "message": push["message"]}}}, auth=False)
        return action
