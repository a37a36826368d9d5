import http from 'k6/http';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';

const orders = new Counter('orders');
const size = new Gauge('size');
const errors = new Rate('order_errors');
const wait = new Trend('order_wait', true);

export const options = {
  iterations: 4,
  thresholds: {
    orders: ['count==8'],
    'orders{kind:paid}': ['count==4'],
    size: ['value==4'],
    order_errors: ['rate==0.5'],
    order_wait: ['max<60000', 'p(90)>=0'],
  },
};

export default function () {
  const response = http.get(`${__ENV.URL}/ok`);
  orders.add(1, { kind: 'paid' });
  orders.add(1);
  size.add(response.body.length);
  errors.add(__ITER % 2 === 0);
  wait.add(response.timings.waiting);
}
