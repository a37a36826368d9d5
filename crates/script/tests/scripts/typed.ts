import http, { RefinedResponse, ResponseType } from 'k6/http';
import { check } from 'k6';
import type { Options } from 'k6/options';
import { Trend } from 'k6/metrics';

interface User {
  name: string;
  tags?: string[];
}

export const options: Options = { vus: 1, iterations: 2 };

const seen: Trend = new Trend('seen');

class Api<T> {
  constructor(private readonly base: string, protected path: string = '/json') {}

  get(): RefinedResponse<ResponseType> {
    return http.get(this.base + this.path)!;
  }

  parse(response: RefinedResponse<ResponseType>): T {
    return (response.json() as unknown as { user: T }).user;
  }
}

export default function (): void {
  const api = new Api<User>(__ENV.URL);
  const user = api.parse(api.get());
  seen.add(user.tags?.length ?? 0);
  check(user, { 'it is Ann': (u: User): boolean => u.name === 'Ann' });
}
