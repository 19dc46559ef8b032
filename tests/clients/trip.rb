# Books, rolls back, does not wait, looks up, lists, cancels and is refused, by a generated client.
require 'openapi_client'

def check(holds, what = nil)
  raise what.inspect unless holds
end

configuration = OpenapiClient::Configuration.new
configuration.scheme = 'http'
configuration.host = ARGV[0].delete_prefix('http://')
configuration.server_index = nil
trips = OpenapiClient::BookingsApi.new(OpenapiClient::ApiClient.new(configuration))
trip = { name: ' Łukasz', attempts: 2, car: 'valid-car', hotel: 'valid-hotel', flight: 'valid-flight' }
wanted = OpenapiClient::BookRequest.new(trip)

booked, status = trips.book_with_http_info(wanted, idempotency_key: 'ruby-1')
check(status == 200 && booked.cancelled == false && booked.car == 'Car: valid-car', booked)
check(trips.book(wanted, idempotency_key: 'ruby-1').user_id == booked.user_id)

other = OpenapiClient::BookRequest.new(trip.merge(hotel: 'invalid-hotel'))
undone = trips.book(other)
check(undone.cancelled == true && undone.reason && undone.car.nil?, undone)

accepted, status = trips.book_with_http_info(wanted, prefer: 'respond-async')
check(status == 202 && accepted.cancelled.nil? && accepted.status == 'running', accepted)
check(accepted.location == "/bookings/#{accepted.user_id}", accepted)

found = trips.get_booking(accepted.user_id, wait: 20)
check(found.status == 'booked' && found.steps.map(&:state) == ['booked'] * 3, found)
check(found.reservations.transform_keys(&:to_s)['hotel'] == 'valid-hotel', found)

page = trips.list_bookings(limit: 2)
check(page.bookings.map(&:user_id) == [accepted.user_id, undone.user_id], page)
page = trips.list_bookings(limit: 1, cursor: page.next_cursor)
check(page.bookings.map { |each| [each.user_id, each.name] } == [[booked.user_id, ' Łukasz']], page)

cancelled = trips.cancel_booking(booked.user_id)
check(cancelled.status == 'cancelled' && cancelled.reservations.empty?, cancelled)

begin
  trips.book(other, idempotency_key: 'ruby-1')
  check(false, 'The key was taken with another body')
rescue OpenapiClient::ApiError => e
  check(e.code == 422 && e.response_body.include?('another body'), e)
end
